//! Optimal one-to-one assignment: the rectangular linear assignment problem.
//!
//! In: a cost matrix [rows, columns], row-major. Out: for each row the column it got, or `None`; exactly
//! min(rows, columns) rows get one and the summed cost is the least possible.
//!
//! Method: shortest augmenting paths with dual prices in double precision (D. F. Crouse, "On
//! implementing 2D rectangular assignment algorithms", 2016), O(min² · max). Among equal costs the result
//! depends on the order of rows and columns only.

/// Beyond this size a cost could overflow when prices are summed.
const LARGEST_COST: f64 = 1e150;

/// Why no assignment can be made.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum HungarianError {
    /// The matrix is not [rows, columns].
    #[error(
        "cost matrix has {found} values, expected {rows} x {columns}; pass one value for each pair"
    )]
    Shape {
        /// Rows asked for.
        rows: usize,
        /// Columns asked for.
        columns: usize,
        /// Values given.
        found: usize,
    },
    /// A cost is NaN, infinite or larger than 1e150.
    #[error(
        "cost[{row}, {column}] is {value}, expected a finite number; \
         check the predictions for NaN (a diverged training step)"
    )]
    NotFinite {
        /// Row of the value.
        row: usize,
        /// Column of the value.
        column: usize,
        /// The value.
        value: f64,
    },
}

/// Column of each row in an assignment of least total cost.
///
/// # Errors
/// When the matrix has another size than `rows` × `columns` or holds a value that is not finite.
pub fn assign_minimum(
    cost: &[f64],
    rows: usize,
    columns: usize,
) -> Result<Vec<Option<usize>>, HungarianError> {
    if Some(cost.len()) != rows.checked_mul(columns) {
        return Err(HungarianError::Shape {
            rows,
            columns,
            found: cost.len(),
        });
    }
    if let Some(at) = cost
        .iter()
        .position(|v| v.is_nan() || v.abs() > LARGEST_COST)
    {
        return Err(HungarianError::NotFinite {
            row: at / columns,
            column: at % columns,
            value: cost[at],
        });
    }
    if rows <= columns {
        return Ok(Solver::new(cost, rows, columns).solve());
    }
    let transposed: Vec<f64> = (0..columns)
        .flat_map(|column| (0..rows).map(move |row| cost[row * columns + column]))
        .collect();
    let mut column_of = vec![None; rows];
    let row_of = Solver::new(&transposed, columns, rows).solve();
    for (column, row) in row_of.into_iter().enumerate() {
        if let Some(row) = row {
            column_of[row] = Some(column);
        }
    }
    Ok(column_of)
}

/// State for rows ≤ columns.
struct Solver<'a> {
    cost: &'a [f64],
    columns: usize,
    row_price: Vec<f64>,
    column_price: Vec<f64>,
    column_of: Vec<Option<usize>>,
    row_of: Vec<Option<usize>>,
}

/// Shortest paths from one free row to the columns, in reduced costs.
struct Paths {
    distance: Vec<f64>,
    /// Row before each column.
    from: Vec<usize>,
    settled: Vec<bool>,
    /// The free column at the end of the shortest path.
    end: usize,
}

impl<'a> Solver<'a> {
    fn new(cost: &'a [f64], rows: usize, columns: usize) -> Self {
        Self {
            cost,
            columns,
            row_price: vec![0.0; rows],
            column_price: vec![0.0; columns],
            column_of: vec![None; rows],
            row_of: vec![None; columns],
        }
    }

    fn solve(mut self) -> Vec<Option<usize>> {
        for start in 0..self.row_price.len() {
            let paths = self.search(start);
            self.reprice(start, &paths);
            self.augment(start, &paths);
        }
        self.column_of
    }

    /// Dijkstra over alternating paths; ends at the nearest free column, which exists because there are
    /// at least as many columns as rows.
    fn search(&self, start: usize) -> Paths {
        let mut paths = Paths {
            distance: vec![f64::INFINITY; self.columns],
            from: vec![start; self.columns],
            settled: vec![false; self.columns],
            end: 0,
        };
        let (mut row, mut travelled) = (start, 0.0);
        loop {
            let nearest = self.relax(row, travelled, &mut paths);
            travelled = paths.distance[nearest];
            paths.settled[nearest] = true;
            paths.end = nearest;
            match self.row_of[nearest] {
                Some(next) => row = next,
                None => return paths,
            }
        }
    }

    /// Extends the paths by the edges of `row` and gives the nearest column not yet settled, a free one
    /// before a taken one.
    fn relax(&self, row: usize, travelled: f64, paths: &mut Paths) -> usize {
        let costs = &self.cost[row * self.columns..][..self.columns];
        let (mut nearest, mut shortest) = (paths.end, f64::INFINITY);
        for (column, cost) in costs.iter().enumerate() {
            if paths.settled[column] {
                continue;
            }
            let through = travelled + cost - self.row_price[row] - self.column_price[column];
            if through < paths.distance[column] {
                paths.distance[column] = through;
                paths.from[column] = row;
            }
            let distance = paths.distance[column];
            let ties_free = distance <= shortest && self.row_of[column].is_none();
            if distance < shortest || ties_free && self.row_of[nearest].is_some() {
                (nearest, shortest) = (column, distance);
            }
        }
        nearest
    }

    /// Keeps all reduced costs non-negative and those on the path zero.
    fn reprice(&mut self, start: usize, paths: &Paths) {
        let length = paths.distance[paths.end];
        self.row_price[start] += length;
        for column in (0..self.columns).filter(|c| paths.settled[*c]) {
            let slack = length - paths.distance[column];
            self.column_price[column] -= slack;
            if let Some(row) = self.row_of[column] {
                self.row_price[row] += slack;
            }
        }
    }

    /// Swaps matched and unmatched edges along the path back to `start`.
    fn augment(&mut self, start: usize, paths: &Paths) {
        let mut column = paths.end;
        loop {
            let row = paths.from[column];
            self.row_of[column] = Some(row);
            let before = self.column_of[row].replace(column);
            match before {
                Some(previous) if row != start => column = previous,
                _ => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{HungarianError, assign_minimum};
    use proptest::prelude::{Strategy, prop_assert, prop_assert_eq, proptest};
    use proptest::{collection, prop_oneof};

    fn total(cost: &[f64], columns: usize, assigned: &[Option<usize>]) -> f64 {
        let pairs = assigned
            .iter()
            .enumerate()
            .filter_map(|(r, c)| c.map(|c| (r, c)));
        pairs
            .map(|(row, column)| cost[row * columns + column])
            .sum()
    }

    /// Least total by trying every way to give `left` more rows a column.
    fn brute_force(cost: &[f64], rows: usize, columns: usize, used: u32, row: usize) -> f64 {
        let taken = used.count_ones() as usize;
        let needed = rows.min(columns) - taken;
        if needed == 0 {
            return 0.0;
        }
        let mut best = f64::INFINITY;
        if rows - row > needed {
            best = brute_force(cost, rows, columns, used, row + 1);
        }
        for column in (0..columns).filter(|c| used & (1 << c) == 0) {
            let rest = brute_force(cost, rows, columns, used | 1 << column, row + 1);
            best = best.min(cost[row * columns + column] + rest);
        }
        best
    }

    fn matrices() -> impl Strategy<Value = (usize, usize, Vec<f64>)> {
        (1..=5_usize, 1..=6_usize).prop_flat_map(|(rows, columns)| {
            // Small integers make ties, wide floats make none.
            let value = prop_oneof![
                (-3..=3_i32).prop_map(f64::from),
                -1.0e6..1.0e6_f64,
                -1.0e-6..1.0e-6_f64
            ];
            let small = (-2..=2_i32).prop_map(f64::from);
            let cost = prop_oneof![
                collection::vec(value, rows * columns),
                collection::vec(small, rows * columns)
            ];
            cost.prop_map(move |cost| (rows, columns, cost))
        })
    }

    proptest! {
        #[test]
        fn total_cost_is_that_of_brute_force((rows, columns, cost) in matrices()) {
            let assigned = assign_minimum(&cost, rows, columns).unwrap();
            let mut taken: Vec<usize> = assigned.iter().flatten().copied().collect();
            taken.sort_unstable();
            taken.dedup();
            prop_assert_eq!(taken.len(), rows.min(columns));
            let best = brute_force(&cost, rows, columns, 0, 0);
            prop_assert!((total(&cost, columns, &assigned) - best).abs() <= 1e-9 * (1.0 + best.abs()));
        }
    }

    #[test]
    fn an_empty_side_assigns_nothing() {
        assert_eq!(assign_minimum(&[], 0, 4), Ok(vec![]));
        assert_eq!(assign_minimum(&[], 3, 0), Ok(vec![None; 3]));
    }

    #[test]
    fn equal_costs_give_every_row_its_own_column() {
        let assigned = assign_minimum(&[0.5; 12], 3, 4).unwrap();
        assert_eq!(assigned, [Some(0), Some(1), Some(2)]);
    }

    #[test]
    fn nan_infinity_and_wrong_sizes_are_refused() {
        let error = assign_minimum(&[0.0, f64::NAN, 1.0, 2.0], 2, 2).unwrap_err();
        assert!(matches!(
            error,
            HungarianError::NotFinite {
                row: 0,
                column: 1,
                ..
            }
        ));
        assert!(assign_minimum(&[0.0, 1.0, f64::INFINITY, 2.0], 2, 2).is_err());
        let error = assign_minimum(&[0.0; 3], 2, 2).unwrap_err();
        assert!(error.to_string().contains("3 values, expected 2 x 2"));
    }
}
