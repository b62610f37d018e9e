//! Suppression by centre distance.
//!
//! In: centres (x, y in m) and scores. Out: indices of kept boxes, best first; equal scores keep their
//! input order. Two forms: mmdetection3d's, which compares the *squared* distance with the threshold
//! and caps the result, and Autoware's, which compares the distance itself, strictly.

/// Indices by descending score; equal scores stay in input order, NaN sorts by its sign.
pub fn order_by_score(scores: &[f32], order: &mut Vec<usize>) {
    order.clear();
    order.extend(0..scores.len());
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
}

/// mmdetection3d: a box goes if a kept, better one has squared distance ≤ `threshold` (m²). At most
/// `post_max_size` are kept.
pub fn circle_nms_squared(
    centers: &[[f32; 2]],
    scores: &[f32],
    threshold: f32,
    post_max_size: usize,
    keep: &mut Vec<usize>,
) {
    order_by_score(scores, keep);
    greedy(keep, |kept, candidate| {
        squared_distance(centers[kept], centers[candidate]) <= threshold
    });
    keep.truncate(post_max_size);
}

/// Autoware: a box goes if a kept, better one is closer than `threshold` (m).
pub fn circle_nms_distance(
    centers: &[[f32; 2]],
    scores: &[f32],
    threshold: f64,
    keep: &mut Vec<usize>,
) {
    let limit = (threshold * threshold) as f32;
    order_by_score(scores, keep);
    greedy(keep, |kept, candidate| {
        squared_distance(centers[kept], centers[candidate]) < limit
    });
}

fn squared_distance(a: [f32; 2], b: [f32; 2]) -> f32 {
    let (dx, dy) = (a[0] - b[0], a[1] - b[1]);
    dx * dx + dy * dy
}

/// Walks `keep` (best first) and leaves in it those that no kept one suppresses.
pub(crate) fn greedy(keep: &mut Vec<usize>, suppresses: impl Fn(usize, usize) -> bool) {
    let mut kept = 0;
    for position in 0..keep.len() {
        let candidate = keep[position];
        if !keep[..kept]
            .iter()
            .any(|better| suppresses(*better, candidate))
        {
            keep[kept] = candidate;
            kept += 1;
        }
    }
    keep.truncate(kept);
}

#[cfg(test)]
mod tests {
    use super::{circle_nms_distance, circle_nms_squared};
    use proptest::prelude::{Strategy, prop_assert_eq, proptest};

    fn boxes() -> impl Strategy<Value = Vec<([f32; 2], f32)>> {
        let center = proptest::array::uniform2((-20_i32..20).prop_map(|v| v as f32 * 0.25));
        let score = (0_u32..8).prop_map(|v| v as f32 / 8.0);
        proptest::collection::vec((center, score), 0..60)
    }

    /// Removes boxes one at a time: the best remaining one is kept, everything it covers goes.
    fn brute_force(boxes: &[([f32; 2], f32)], covers: impl Fn(f32) -> bool) -> Vec<usize> {
        let mut left: Vec<usize> = (0..boxes.len()).collect();
        let mut kept = Vec::new();
        while let Some(best) = left.iter().copied().reduce(|best, next| {
            if boxes[next].1 > boxes[best].1 {
                next
            } else {
                best
            }
        }) {
            kept.push(best);
            let ([x, y], _) = boxes[best];
            left.retain(|other| {
                let ([u, v], _) = boxes[*other];
                *other != best && !covers((x - u).powi(2) + (y - v).powi(2))
            });
        }
        kept
    }

    proptest! {
        #[test]
        fn both_forms_equal_brute_force(boxes in boxes()) {
            let (centers, scores): (Vec<[f32; 2]>, Vec<f32>) = boxes.iter().copied().unzip();
            let mut keep = Vec::new();
            circle_nms_squared(&centers, &scores, 1.0, 5, &mut keep);
            let mut want = brute_force(&boxes, |squared| squared <= 1.0);
            want.truncate(5);
            prop_assert_eq!(&keep, &want);
            circle_nms_distance(&centers, &scores, 0.5, &mut keep);
            prop_assert_eq!(&keep, &brute_force(&boxes, |squared| squared.sqrt() < 0.5));
        }
    }

    #[test]
    fn the_limit_itself_suppresses_only_in_the_squared_form() {
        let (centers, scores) = ([[0.0, 0.0], [0.5, 0.0]], [0.9, 0.8]);
        let mut keep = Vec::new();
        circle_nms_squared(&centers, &scores, 0.25, 83, &mut keep);
        assert_eq!(keep, [0]);
        circle_nms_distance(&centers, &scores, 0.5, &mut keep);
        assert_eq!(keep, [0, 1]);
    }
}
