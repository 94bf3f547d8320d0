//! The leading eigenvectors of a Gram matrix: what stands between `key_gram` and `key_project`. On a device the
//! eigenproblem is a library's; here orthogonal iteration, which needs nothing but products.

use super::{dot, length};

/// Directions iterated beyond those that are wanted: the more, the faster the others vanish.
const SPARE: usize = 16;
/// Products with the matrix between two looks at how far the directions have come.
const STEPS: usize = 4;
/// Most looks.
const MOST_LOOKS: usize = 100;
/// Most sweeps over a small matrix until it is diagonal; ten are usual.
const MOST_SWEEPS: usize = 60;
/// Share of the largest eigenvalue that `M v - value v` may be long, for every wanted eigenvector.
const RESIDUAL: f64 = 1e-12;

/// Leading eigenvectors and their eigenvalues.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyBasis {
    /// Eigenvalues, the largest first: squares of the keys' singular values.
    pub values: Vec<f64>,
    /// `V_R` `[width, rank]`, an eigenvector a column, in the order of the eigenvalues.
    pub vectors: Vec<f64>,
}

/// The `rank` leading eigenvectors of the symmetric `gram` `[width, width]`, none of whose eigenvalues is negative; `None`
/// if they are not found, because the matrix holds something else than numbers or has no gap behind the last of them.
pub fn key_basis(gram: &[f64], width: usize, rank: usize) -> Option<KeyBasis> {
    // One direction a row.
    let mut directions = start((rank + SPARE).min(width), width);
    for _ in 0..MOST_LOOKS {
        for _ in 0..STEPS {
            directions = products(gram, &directions);
            make_orthonormal(&mut directions);
        }
        let images = products(gram, &directions);
        let (values, turn) = eigenvectors(&gram_of(&directions, &images))?;
        directions = turned(&turn, &directions);
        let images = turned(&turn, &images);
        let wanted = values.iter().zip(&directions).zip(&images).take(rank);
        let residual = |((value, direction), image): ((&f64, &Vec<f64>), &Vec<f64>)| {
            let difference = image.iter().zip(direction).map(|(x, v)| x - value * v);
            length(&difference.collect::<Vec<f64>>())
        };
        if wanted.map(residual).fold(0.0, f64::max) <= RESIDUAL * values[0] {
            let vectors = (0..width)
                .flat_map(|row| directions[..rank].iter().map(move |own| own[row]))
                .collect();
            return Some(KeyBasis {
                values: values[..rank].to_vec(),
                vectors,
            });
        }
    }
    None
}

/// `count` directions, neither equal nor orthogonal to anything in particular.
fn start(count: usize, width: usize) -> Vec<Vec<f64>> {
    let element =
        |row: usize, column: usize| ((1 + row * width + column) as f64 * 0.618_034).fract() - 0.5;
    let mut directions: Vec<Vec<f64>> = (0..count)
        .map(|row| {
            let elements = (0..width).map(|column| element(row * row + row, column * column));
            elements.collect()
        })
        .collect();
    // Whatever the elements are, no two directions are the same.
    for (row, direction) in directions.iter_mut().enumerate() {
        direction[row] += 1.0;
    }
    make_orthonormal(&mut directions);
    directions
}

/// The products of a symmetric matrix with each direction.
fn products(matrix: &[f64], directions: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let width = directions.first().map_or(1, Vec::len);
    directions
        .iter()
        .map(|direction| {
            let rows = matrix.chunks_exact(width);
            rows.map(|row| dot(row, direction)).collect()
        })
        .collect()
}

/// Gram and Schmidt, twice: once leaves what rounding makes of directions that were nearly the same.
fn make_orthonormal(directions: &mut [Vec<f64>]) {
    for _ in 0..2 {
        for index in 0..directions.len() {
            let (before, rest) = directions.split_at_mut(index);
            let own = &mut rest[0];
            for other in before {
                let share = dot(own, other);
                for (x, y) in own.iter_mut().zip(&*other) {
                    *x -= share * y;
                }
            }
            let size = length(own);
            if size > 0.0 {
                for x in own.iter_mut() {
                    *x /= size;
                }
            }
        }
    }
}

/// Scalar products of all directions with all images, made symmetric.
fn gram_of(directions: &[Vec<f64>], images: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let product = |row: usize, column: usize| dot(&directions[row], &images[column]);
    let count = directions.len();
    (0..count)
        .map(|row| {
            let symmetric =
                |column: usize| f64::midpoint(product(row, column), product(column, row));
            (0..count).map(symmetric).collect()
        })
        .collect()
}

/// The combinations of `directions` that the rows of `turn` say.
fn turned(turn: &[Vec<f64>], directions: &[Vec<f64>]) -> Vec<Vec<f64>> {
    turn.iter()
        .map(|shares| {
            let mut sum = vec![0.0; directions.first().map_or(0, Vec::len)];
            for (share, direction) in shares.iter().zip(directions) {
                for (x, y) in sum.iter_mut().zip(direction) {
                    *x += share * y;
                }
            }
            sum
        })
        .collect()
}

/// All eigenvalues of a small symmetric matrix, the largest first, and its eigenvectors as rows (Jacobi's rotations);
/// `None` if it never becomes diagonal.
fn eigenvectors(matrix: &[Vec<f64>]) -> Option<(Vec<f64>, Vec<Vec<f64>>)> {
    let count = matrix.len();
    let mut matrix = matrix.to_vec();
    let mut vectors: Vec<Vec<f64>> = (0..count)
        .map(|row| {
            let element = |column| if row == column { 1.0 } else { 0.0 };
            (0..count).map(element).collect()
        })
        .collect();
    let mut diagonal = false;
    for _ in 0..MOST_SWEEPS {
        diagonal = true;
        for row in 0..count {
            for column in row + 1..count {
                diagonal &= !eliminate(&mut matrix, &mut vectors, row, column);
            }
        }
        if diagonal {
            break;
        }
    }
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by(|a, b| matrix[*b][*b].total_cmp(&matrix[*a][*a]));
    let values = order.iter().map(|index| matrix[*index][*index]).collect();
    let vectors = order.iter().map(|index| vectors[*index].clone()).collect();
    diagonal.then_some((values, vectors))
}

/// Turns rows and columns `p` and `q` so that their common element vanishes; whether there was anything to do.
fn eliminate(matrix: &mut [Vec<f64>], vectors: &mut [Vec<f64>], p: usize, q: usize) -> bool {
    let common = matrix[p][q];
    let (first, second) = (matrix[p][p], matrix[q][q]);
    // Below what rounding does to the diagonal.
    if common.abs() <= f64::EPSILON * 0.25 * (first.abs() * second.abs()).sqrt() || common == 0.0 {
        return false;
    }
    let cotangent = (second - first) / (2.0 * common);
    let tangent = cotangent.signum() / (cotangent.abs() + cotangent.hypot(1.0));
    let cosine = 1.0 / tangent.hypot(1.0);
    let sine = tangent * cosine;
    for rows in [&mut *matrix, vectors] {
        let (before, from) = rows.split_at_mut(q);
        for (x, y) in before[p].iter_mut().zip(&mut from[0]) {
            (*x, *y) = (cosine * *x - sine * *y, sine * *x + cosine * *y);
        }
    }
    for row in matrix.iter_mut() {
        let (x, y) = (row[p], row[q]);
        row[p] = cosine * x - sine * y;
        row[q] = sine * x + cosine * y;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::oracle::key_gram::key_gram;

    #[test]
    fn eigenvectors_of_a_plane() {
        // 3 along (1, 1), 1 along (1, -1).
        let basis = key_basis(&[2.0, 1.0, 1.0, 2.0], 2, 2).unwrap();
        let half = 0.5_f64.sqrt();
        assert!((basis.values[0] - 3.0).abs() < 1e-12 && (basis.values[1] - 1.0).abs() < 1e-12);
        let sign = basis.vectors[0].signum();
        assert!((basis.vectors[0] * sign - half).abs() < 1e-12);
        assert!((basis.vectors[2] * sign - half).abs() < 1e-12);
        assert!((basis.vectors[1] + basis.vectors[3]).abs() < 1e-12);
    }

    #[test]
    fn keys_of_low_rank_are_their_own_projection() {
        // Rank 3 in 40 dimensions, of strengths from 100 to 1.
        let (tokens, width, rank) = (50, 40, 3);
        let wave = |step: usize, index: usize| ((1 + step) as f64 * 0.7 * index as f64).sin();
        let key = |token: usize, column: usize| -> f64 {
            (0..rank)
                .map(|own| {
                    wave(own, token)
                        * wave(own + 5, column)
                        * 10.0_f64.powi(2 - i32::try_from(own).unwrap())
                })
                .sum()
        };
        let keys: Vec<f64> = (0..tokens * width)
            .map(|index| key(index / width, index % width))
            .collect();
        let basis = key_basis(&key_gram(&keys, width), width, rank).unwrap();
        assert!(basis.values.is_sorted_by(|a, b| a >= b));
        for own in keys.chunks_exact(width) {
            let factor = |column: usize| -> f64 {
                (0..width)
                    .map(|row| own[row] * basis.vectors[row * rank + column])
                    .sum()
            };
            let factors: Vec<f64> = (0..rank).map(factor).collect();
            for (row, expected) in own.iter().enumerate() {
                let found = dot(&basis.vectors[row * rank..][..rank], &factors);
                assert!((found - expected).abs() < 1e-9, "{found} {expected}");
            }
        }
    }

    #[test]
    fn what_is_no_number_has_no_basis() {
        assert_eq!(key_basis(&[f64::NAN; 4], 2, 1), None);
    }
}
