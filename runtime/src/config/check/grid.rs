//! The voxel grid, the columns of a point and which branches a model has.

use super::super::error::ConfigProblem;
use super::Checker;

const GRID: &[&str] = &["voxel.point_cloud_range", "voxel.voxel_size"];
const AXES: [&str; 3] = ["x", "y", "z"];

impl Checker<'_> {
    pub(super) fn branches(&mut self) {
        const READS: &[&str] = &["lidar_encoder", "camera", "fuser", "bev_decoder"];
        let spec = self.spec;
        let (lidar, camera) = (spec.lidar_encoder.is_some(), spec.camera.is_some());
        let mut wrong = |key, expected, found, remedy| {
            self.fail(READS, ConfigProblem::new(key, expected, found, remedy));
        };
        if !lidar && !camera {
            wrong(
                "lidar_encoder",
                "[lidar_encoder], [camera] or both",
                "neither",
                "add the branch that the model has",
            );
        }
        match (lidar && camera, spec.fuser.is_some()) {
            (true, false) => wrong(
                "fuser",
                "[fuser], because the model has a LiDAR and a camera branch",
                "none",
                "add [fuser] with out_channels and kernel_size",
            ),
            (false, true) => wrong(
                "fuser",
                "no [fuser], because the model has one branch only",
                "[fuser]",
                "remove [fuser] or add the other branch",
            ),
            _ => {}
        }
        if lidar && spec.bev_decoder.is_none() {
            wrong(
                "bev_decoder",
                "[bev_decoder], because the model has a LiDAR encoder",
                "none",
                "add [bev_decoder]",
            );
        }
    }

    pub(super) fn grid(&mut self) {
        let voxel = &self.spec.voxel;
        let range = voxel.point_cloud_range;
        for (axis, name) in AXES.into_iter().enumerate() {
            let what = format!("point_cloud_range over voxel_size along {name}");
            let extent = (range[axis], range[axis + 3], voxel.voxel_size[axis]);
            self.divides(GRID, ("voxel.voxel_size", &what), extent);
        }
        self.positive("voxel.max_points_per_voxel", voxel.max_points_per_voxel);
        self.positive("voxel.max_voxels", voxel.max_voxels);
        self.positive("head.out_size_factor", self.spec.head.out_size_factor);
        self.addressable();
        self.whole_cells();
    }

    /// Voxel keys are 32 bits, with the extra z layer of the sparse tensor.
    fn addressable(&mut self) {
        let [x, y, z] = self.shapes.voxel_grid;
        let voxels = x.saturating_mul(y).saturating_mul(z.saturating_add(1));
        if voxels > i32::MAX as usize {
            self.fail(
                GRID,
                ConfigProblem::new(
                    "voxel.voxel_size",
                    format!("at most {} voxels in the grid", i32::MAX),
                    format!("{x} x {y} x {z}"),
                    "use larger voxels or a smaller range",
                ),
            );
        }
    }

    fn whole_cells(&mut self) {
        let factor = self.spec.head.out_size_factor;
        let [x, y, _] = self.shapes.voxel_grid;
        for (name, voxels) in [("x", x), ("y", y)] {
            if voxels.checked_rem(factor).is_some_and(|rest| rest != 0) {
                self.fail(
                    GRID,
                    ConfigProblem::new(
                        "head.out_size_factor",
                        format!("a divisor of the {voxels} voxels along {name}"),
                        factor.to_string(),
                        "change out_size_factor, the range or the voxel size",
                    ),
                );
            }
        }
    }

    pub(super) fn points(&mut self) {
        let points = &self.spec.points;
        let load_dim = points.load_dim;
        let remedy = "count columns from 0, or raise points.load_dim";
        let columns = points.use_dim.iter().enumerate();
        let mut named: Vec<(String, usize)> = columns
            .map(|(i, column)| (format!("points.use_dim[{i}]"), *column))
            .collect();
        named.push(("points.time_column".into(), points.time_column));
        for (key, column) in named {
            if column >= load_dim {
                let expected = format!("a column below load_dim = {load_dim}");
                self.fail(
                    &["points.load_dim"],
                    ConfigProblem::new(key, expected, column.to_string(), remedy),
                );
            }
        }
        if points.use_dim.get(..3) != Some(&[0, 1, 2]) {
            let found = format!("{:?}", points.use_dim);
            self.fail(
                &[],
                ConfigProblem::new(
                    "points.use_dim",
                    "x, y, z (columns 0, 1, 2) first",
                    found,
                    "start the list with 0, 1, 2",
                ),
            );
        }
        let close = f64::from(points.remove_close);
        let allowed = (close >= 0.0, "0 or a distance in metres");
        self.within("points.remove_close", close, allowed);
        self.unique("class_names", &self.spec.class_names);
    }
}
