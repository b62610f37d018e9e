//! The TransFusion head.

use super::super::error::ConfigProblem;
use super::Checker;

impl Checker<'_> {
    pub(super) fn head(&mut self) {
        let head = &self.spec.head;
        for (name, value) in [
            ("num_proposals", head.num_proposals),
            ("hidden_channels", head.hidden_channels),
            ("num_heads", head.num_heads),
            ("ffn_channels", head.ffn_channels),
            ("num_decoder_layers", head.num_decoder_layers),
            ("prediction_channels", head.prediction_channels),
        ] {
            self.positive(&format!("head.{name}"), value);
        }
        self.layers("head.num_decoder_layers", &[head.num_decoder_layers]);
        self.enough_cells();
        let rest = head.hidden_channels.checked_rem(head.num_heads);
        if rest.is_some_and(|rest| rest != 0) {
            self.fail(
                &["head.hidden_channels"],
                ConfigProblem::new(
                    "head.num_heads",
                    format!("a divisor of hidden_channels = {}", head.hidden_channels),
                    head.num_heads.to_string(),
                    "change num_heads or hidden_channels",
                ),
            );
        }
        if head.nms_kernel_size.is_multiple_of(2) {
            self.fail(
                &[],
                ConfigProblem::new(
                    "head.nms_kernel_size",
                    "an odd number, so that the window has a centre",
                    head.nms_kernel_size.to_string(),
                    "write 3, or 1 for no local maximum",
                ),
            );
        }
        let pooled = &head.dense_heatmap_pooling_classes;
        self.classes("head.dense_heatmap_pooling_classes", pooled);
        if !pooled.is_empty() {
            self.unique("head.dense_heatmap_pooling_classes", pooled);
        }
        self.fuser();
    }

    fn enough_cells(&mut self) {
        let [x, y] = self.shapes.bev;
        let classes = self.spec.class_names.len();
        let places = classes.saturating_mul(x).saturating_mul(y);
        let proposals = self.spec.head.num_proposals;
        if proposals > places {
            self.fail(
                &["voxel", "head.out_size_factor", "class_names"],
                ConfigProblem::new(
                    "head.num_proposals",
                    format!("at most {classes} classes x {x} x {y} cells = {places}"),
                    proposals.to_string(),
                    "lower num_proposals or use a finer grid",
                ),
            );
        }
    }

    fn fuser(&mut self) {
        let Some(fuser) = &self.spec.fuser else {
            return;
        };
        self.positive("fuser.out_channels", fuser.out_channels);
        if fuser.kernel_size.is_multiple_of(2) {
            self.fail(
                &[],
                ConfigProblem::new(
                    "fuser.kernel_size",
                    "an odd number, so that padding keeps the size",
                    fuser.kernel_size.to_string(),
                    "write the kernel edge of the checkpoint's fuser weight, 3 or 5",
                ),
            );
        }
    }
}
