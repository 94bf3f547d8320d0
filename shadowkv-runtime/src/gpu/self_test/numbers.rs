//! Products and eigenvectors against sums in f64.

use faer::{Mat, Side};
use half::bf16;

use super::super::{EigenBasis, Gpu, GpuError, GpuMemory as _, Output, Priority, Product};
use super::{Trouble, Verdict, random, wrong};

fn rounded(seed: u64, count: usize) -> Vec<bf16> {
    let numbers = random(seed, count).into_iter();
    numbers.map(bf16::from_f32).collect()
}

/// Whether an error is small enough; one that is no number is not.
fn within(error: f64, most: f64) -> bool {
    error.abs() <= most
}

/// A shape to multiply.
struct Case {
    rows: usize,
    inputs: usize,
    outputs: usize,
    output_type: Output,
    bias: bool,
    /// Elements by which the input is off its allocation's beginning.
    offset: usize,
}

const fn case(rows: usize, inputs: usize, outputs: usize, output_type: Output) -> Case {
    Case {
        rows,
        inputs,
        outputs,
        output_type,
        bias: false,
        offset: 0,
    }
}

const CASES: [Case; 8] = [
    case(1, 576, 1536, Output::Bf16),
    case(1, 576, 2048, Output::F32),
    case(3, 576, 960, Output::Bf16),
    case(24, 1536, 576, Output::Bf16),
    case(200, 192, 320, Output::F32),
    case(130, 64, 66, Output::Bf16),
    Case {
        bias: true,
        ..case(5, 576, 576, Output::Bf16)
    },
    Case {
        offset: 8,
        ..case(7, 576, 192, Output::Bf16)
    },
];

pub(super) fn products<G: Gpu>(gpu: &G) -> Verdict {
    let mut worst = 0f64;
    for (index, case) in CASES.iter().enumerate() {
        worst = worst.max(product(gpu, index as u64, case)?);
    }
    Ok(format!(
        "{} shapes, at most {worst:.2} of what rounding allows",
        CASES.len()
    ))
}

/// The largest error of an element, as a share of what is allowed.
fn product<G: Gpu>(gpu: &G, seed: u64, case: &Case) -> Result<f64, Trouble> {
    let &Case {
        rows,
        inputs,
        outputs,
        output_type,
        offset,
        ..
    } = case;
    let stream = gpu.stream("self test", Priority::Normal)?;
    let input = rounded(100 + seed, rows * inputs + offset);
    let weights = rounded(200 + seed, outputs * inputs);
    let bias = rounded(300 + seed, outputs);
    let upload = |name: &str, numbers: &[bf16]| {
        let memory = gpu.allocate(name, 2 * numbers.len() as u64)?;
        gpu.write(&stream, bytemuck::cast_slice(numbers), memory.whole())?;
        Ok::<_, GpuError>(memory)
    };
    let input_memory = upload("input", &input)?;
    let weights_memory = upload("weights", &weights)?;
    let bias_memory = upload("bias", &bias)?;
    let element_bytes = match output_type {
        Output::Bf16 => 2,
        Output::F32 => 4,
    };
    let output = gpu.allocate("output", (rows * outputs * element_bytes) as u64)?;
    let description = Product {
        input: input_memory.part(2 * offset as u64, (2 * rows * inputs) as u64)?,
        weights: weights_memory.whole(),
        bias: case.bias.then(|| bias_memory.whole()),
        output: output.whole(),
        output_type,
        rows: rows as u64,
        inputs: inputs as u64,
        outputs: outputs as u64,
    };
    gpu.product(&stream, &description)?;
    let mut bytes = vec![0; rows * outputs * element_bytes];
    gpu.read(&stream, output.whole(), &mut bytes)?;
    let found: Vec<f64> = match output_type {
        Output::Bf16 => {
            let numbers = bytes.as_chunks::<2>().0.iter();
            numbers
                .map(|bytes| bf16::from_le_bytes(*bytes).to_f64())
                .collect()
        }
        Output::F32 => {
            let numbers = bytes.as_chunks::<4>().0.iter();
            numbers
                .map(|bytes| f64::from(f32::from_le_bytes(*bytes)))
                .collect()
        }
    };
    let mut worst = 0f64;
    for (row, found) in found.chunks_exact(outputs).enumerate() {
        let input = &input[offset + row * inputs..][..inputs];
        for (column, found) in found.iter().enumerate() {
            let weights = &weights[column * inputs..][..inputs];
            let terms = input
                .iter()
                .zip(weights)
                .map(|(a, b)| a.to_f64() * b.to_f64());
            let size: f64 = terms.clone().map(f64::abs).sum();
            let bias = if case.bias {
                bias[column].to_f64()
            } else {
                0.0
            };
            let expected = terms.sum::<f64>() + bias;
            // Half a unit of bf16 for the output, and f32 sums, of whatever order, before it.
            let unit = match output_type {
                Output::Bf16 => 1.0 / 256.0,
                Output::F32 => 0.0,
            };
            let allowed = 2e-5 * (size + bias.abs()) + unit * expected.abs();
            let share = (found - expected).abs() / allowed;
            if !within(share, 1.0) {
                return Err(wrong(format!(
                    "[{rows}, {inputs}] by [{outputs}, {inputs}] {output_type:?}: element [{row}, {column}] is {found}, expected {expected}"
                )));
            }
            worst = worst.max(share);
        }
    }
    Ok(worst)
}

/// A Gram matrix `[width, width]` of as many random rows as `rows`.
fn gram(seed: u64, rows: usize, width: usize) -> Vec<f32> {
    let keys = random(seed, rows * width);
    let mut gram = vec![0f64; width * width];
    for (index, row) in keys.chunks_exact(width).enumerate() {
        // A spectrum that falls.
        let scale = f64::from(0.97f32.powi(i32::try_from(index).unwrap_or(i32::MAX)));
        for (sums, a) in gram.chunks_exact_mut(width).zip(row) {
            for (sum, b) in sums.iter_mut().zip(row) {
                *sum += scale * f64::from(*a) * f64::from(*b);
            }
        }
    }
    gram.into_iter().map(|sum| sum as f32).collect()
}

pub(super) fn eigenvectors<G: Gpu>(gpu: &G) -> Verdict {
    let mut least = 1f64;
    // The last has fewer rows than eigenvectors wanted.
    for (rows, width, rank) in [(256, 192, 96), (300, 64, 64), (20, 64, 48)] {
        least = least.min(eigen_basis(gpu, rows, width, rank)?);
    }
    let stream = gpu.stream("self test", Priority::Normal)?;
    let matrix = gpu.allocate("gram", 4 * 16 * 16)?;
    let basis = gpu.allocate("basis", 2 * 16 * 8)?;
    let numbers = [f32::NAN; 256];
    gpu.write(&stream, bytemuck::cast_slice(&numbers), matrix.whole())?;
    let problem = EigenBasis {
        gram: matrix.whole(),
        basis: basis.whole(),
        width: 16,
        rank: 8,
    };
    let failed = gpu
        .eigen_basis(&stream, &problem)
        .and_then(|()| gpu.synchronise(&stream));
    if !matches!(failed, Err(GpuError::Failed { .. })) {
        return Err(wrong(format!(
            "eigenvectors of what is no number: {failed:?}"
        )));
    }
    Ok(format!("at least {least:.6} of what the best vectors hold"))
}

/// How much of the best possible trace the basis holds.
fn eigen_basis<G: Gpu>(gpu: &G, rows: usize, width: usize, rank: usize) -> Result<f64, Trouble> {
    let stream = gpu.stream("self test", Priority::Normal)?;
    let elements = gram(400 + rows as u64, rows, width);
    let matrix = gpu.allocate("gram", 4 * elements.len() as u64)?;
    let basis = gpu.allocate("basis", (2 * width * rank) as u64)?;
    gpu.write(&stream, bytemuck::cast_slice(&elements), matrix.whole())?;
    let problem = EigenBasis {
        gram: matrix.whole(),
        basis: basis.whole(),
        width: width as u64,
        rank: rank as u64,
    };
    gpu.eigen_basis(&stream, &problem)?;
    let mut bytes = vec![0; 2 * width * rank];
    gpu.read(&stream, basis.whole(), &mut bytes)?;
    let numbers: Vec<f64> = bytes
        .as_chunks::<2>()
        .0
        .iter()
        .map(|bytes| bf16::from_le_bytes(*bytes).to_f64())
        .collect();
    let vectors = Mat::from_fn(width, rank, |row, column| numbers[row * rank + column]);
    let matrix = Mat::from_fn(width, width, |row, column| {
        f64::from(elements[row * width + column])
    });
    let products = vectors.transpose() * &vectors;
    for row in 0..rank {
        for column in 0..rank {
            let expected = f64::from(u8::from(row == column));
            let found = products[(row, column)];
            if !within(found - expected, 0.02) {
                return Err(wrong(format!(
                    "width {width}: vectors {row} and {column} have the product {found}"
                )));
            }
        }
    }
    let held = vectors.transpose() * &matrix * &vectors;
    let values = matrix
        .self_adjoint_eigenvalues(Side::Lower)
        .map_err(|error| wrong(format!("on the host: {error:?}")))?;
    let best: f64 = values.iter().rev().take(rank).sum();
    let trace: f64 = (0..rank).map(|index| held[(index, index)]).sum();
    for index in 0..rank {
        let (found, expected) = (held[(index, index)], values[width - 1 - index]);
        if !within(found - expected, 0.02 * values[width - 1].abs()) {
            return Err(wrong(format!(
                "width {width}: vector {index} holds {found}, the eigenvalue is {expected}"
            )));
        }
    }
    let share = trace / best;
    if share > 0.99 {
        Ok(share)
    } else {
        Err(wrong(format!(
            "width {width}: the basis holds {share} of the best"
        )))
    }
}
