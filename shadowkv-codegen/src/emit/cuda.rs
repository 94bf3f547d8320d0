//! CUDA C++ from the templates.

use serde::Serialize;
use shadowkv_runtime::manifest::{Access, Argument, Dtype};
use tera::{Context, Delimiters, Tera};

use super::{EmitError, SourceFile};
use crate::plan::{Constant, KernelPlan, Plan};
use crate::spec::{RopeLayout, RopeScaling, Spec, StorageType};

/// The templates, by file name. The crate's `templates` folder is the workspace's, so that a packaged crate
/// contains it.
macro_rules! templates {
    ($($name:literal),* $(,)?) => {
        &[$((concat!($name, ".tera"), include_str!(concat!("../../templates/", $name, ".tera")))),*]
    };
}

const TEMPLATES: &[(&str, &str)] = templates![
    "banner",
    "head",
    "prelude.cuh",
    "spec.cuh",
    "rope.cuh",
    "landmark.cuh",
    "attention.cuh",
    "selection",
    "embed.cu",
    "rms_norm.cu",
    "rope_append.cu",
    "prefill_attention.cu",
    "silu_mul.cu",
    "key_gram.cu",
    "key_project.cu",
    "chunk_landmarks.cu",
    "select_outliers.cu",
    "store_exact.cu",
    "offload_values.cu",
    "decode_attention.cu",
    "landmark_score.cu",
    "select_chunks.cu",
    "gather_values.cu",
    "reconstruct_keys.cu",
    "sparse_attention.cu",
    "fold_chunk.cu",
    "sample.cu",
];

/// Emitted headers, in the order of inclusion.
const HEADERS: [&str; 5] = [
    "prelude.cuh",
    "spec.cuh",
    "rope.cuh",
    "landmark.cuh",
    "attention.cuh",
];

/// What every template of a package may name.
#[derive(Serialize)]
struct PackageContext<'a> {
    package: &'a str,
    spec_constants: Vec<ConstantContext>,
    storage: StorageContext,
    /// `1 / sqrt(head_dim)`, a C++ float literal.
    score_scale: String,
    /// Epsilon of the norms, a C++ float literal; absent where the spec has no decoder.
    norm_eps: Option<String>,
    rope: RopeContext,
}

#[derive(Serialize)]
struct StorageContext {
    values: &'static str,
    landmarks: &'static str,
    factors: &'static str,
}

#[derive(Serialize)]
struct RopeContext {
    description: String,
    rotary_dim: u32,
    interleaved: u32,
    attention_factor: String,
    /// Rows of four C++ float literals.
    tables: Vec<Vec<String>>,
}

#[derive(Serialize)]
struct ConstantContext {
    /// `NAME = value,`, padded so that the comments of a list line up.
    definition: String,
    doc: &'static str,
}

/// What a kernel's template may name besides.
#[derive(Serialize)]
struct KernelContext<'a> {
    name: &'a str,
    entry: &'a str,
    summary: &'a str,
    notes: Vec<String>,
    specialised_for: String,
    read_bytes: String,
    written_bytes: String,
    host_read_bytes: String,
    host_written_bytes: String,
    flops: String,
    header: &'a str,
    constants: Vec<ConstantContext>,
    arguments: Vec<ArgumentContext>,
    argument_bytes: u64,
}

#[derive(Serialize)]
struct ArgumentContext {
    /// `type name;`
    declaration: String,
    /// Lines of the comment above it: meaning, then shape.
    comment: Vec<String>,
}

/// Columns of a comment in the emitted sources, without what stands before it.
const COMMENT_WIDTH: usize = 110;

/// The headers and the kernels' sources.
pub(super) fn sources(plan: &Plan) -> Result<(Vec<SourceFile>, Vec<SourceFile>), EmitError> {
    let tera = engine()?;
    let package = package_context(plan);
    let headers = HEADERS
        .iter()
        .map(|name| {
            let context = context(name, &package)?;
            render(&tera, name, &context)
        })
        .collect::<Result<_, _>>()?;
    let kernels = plan
        .kernels
        .iter()
        .map(|kernel| {
            let name = source_name(kernel);
            let mut context = context(&name, &package)?;
            context.insert("kernel", &kernel_context(&plan.spec, kernel));
            render(&tera, &name, &context)
        })
        .collect::<Result<_, _>>()?;
    Ok((headers, kernels))
}

/// File name of a kernel's source.
pub(super) fn source_name(kernel: &KernelPlan) -> String {
    format!("{}.cu", kernel.name)
}

fn context(file: &str, package: &PackageContext) -> Result<Context, EmitError> {
    Context::from_serialize(package).map_err(|error| template_error(file, &error))
}

fn render(tera: &Tera, name: &str, context: &Context) -> Result<SourceFile, EmitError> {
    let text = tera
        .render(&template_name(name), context)
        .map_err(|error| template_error(name, &error))?;
    // Templates end where their last line ends; a file ends with exactly one newline.
    Ok(SourceFile {
        name: name.to_owned(),
        text: format!("{}\n", text.trim_end()),
    })
}

/// The template of an emitted file.
fn template_name(file: &str) -> String {
    format!("{file}.tera")
}

/// The templates under delimiters that C++ does not use, so that its braces and shifts stay plain.
fn engine() -> Result<Tera, EmitError> {
    let mut tera = Tera::default();
    tera.set_delimiters(Delimiters {
        block_start: "<%".into(),
        block_end: "%>".into(),
        variable_start: "<$".into(),
        variable_end: "$>".into(),
        comment_start: "<#".into(),
        comment_end: "#>".into(),
    })
    .map_err(|error| template_error("delimiters", &error))?;
    tera.autoescape_on(Vec::<&str>::new());
    tera.add_raw_templates(TEMPLATES.iter().copied())
        .map_err(|error| template_error("templates", &error))?;
    Ok(tera)
}

fn template_error(file: &str, error: &tera::Error) -> EmitError {
    EmitError::Template {
        file: file.to_owned(),
        message: error.to_string(),
    }
}

fn package_context(plan: &Plan) -> PackageContext<'_> {
    let spec = &plan.spec;
    let tables = spec.rope.tables();
    PackageContext {
        package: &spec.name,
        spec_constants: constants(&plan.constants),
        storage: StorageContext {
            values: storage_type(spec.shadowkv.storage.values),
            landmarks: storage_type(spec.shadowkv.storage.landmarks),
            factors: storage_type(spec.shadowkv.storage.factors),
        },
        score_scale: float((1.0 / f64::from(spec.attention.head_dim).sqrt()) as f32),
        norm_eps: spec
            .decoder
            .as_ref()
            .map(|decoder| float(decoder.norm_eps as f32)),
        rope: RopeContext {
            description: rope_description(spec),
            rotary_dim: spec.rope.rotary_dim,
            interleaved: u32::from(spec.rope.layout == RopeLayout::Interleaved),
            attention_factor: float(tables.attention_factor),
            tables: tables
                .inverse_frequencies
                .iter()
                .map(|table| {
                    table
                        .chunks(4)
                        .map(|row| {
                            row.iter()
                                .map(|value| float(*value))
                                .collect::<Vec<_>>()
                                .join(", ")
                        })
                        .collect()
                })
                .collect(),
        },
    }
}

fn storage_type(storage: StorageType) -> &'static str {
    match storage {
        StorageType::Bf16 => "bf16",
    }
}

/// The shortest decimal that reads back as the same float, as a C++ literal.
fn float(value: f32) -> String {
    format!("{value:?}f")
}

fn rope_description(spec: &Spec) -> String {
    let layout = match spec.rope.layout {
        RopeLayout::HalfSplit => "half-split pairs",
        RopeLayout::Interleaved => "interleaved pairs",
    };
    let scaling = match &spec.rope.scaling {
        RopeScaling::None => "no scaling".to_owned(),
        RopeScaling::Llama3 {
            factor,
            original_max_position,
            ..
        } => {
            format!("llama3 scaling, factor {factor} over {original_max_position} positions")
        }
        RopeScaling::Yarn {
            factor,
            original_max_position,
            ..
        } => {
            format!("yarn scaling, factor {factor} over {original_max_position} positions")
        }
        RopeScaling::LongRope {
            original_max_position,
            ..
        } => {
            format!(
                "longrope scaling, the long table for prompts beyond {original_max_position} tokens"
            )
        }
    };
    format!(
        "{layout} of the first {} of {} elements, base {}, {scaling}",
        spec.rope.rotary_dim, spec.attention.head_dim, spec.rope.base
    )
}

fn kernel_context<'a>(spec: &Spec, kernel: &'a KernelPlan) -> KernelContext<'a> {
    KernelContext {
        name: kernel.name,
        entry: &kernel.entry,
        summary: kernel.summary,
        notes: kernel
            .notes
            .iter()
            .map(|line| format!("// {line}").trim_end().to_owned())
            .collect(),
        specialised_for: format!(
            "head_dim {}, kv_heads {}, gqa_ratio {}, rank {}, chunk_size {}",
            spec.attention.head_dim,
            spec.attention.kv_heads,
            spec.attention.gqa_ratio,
            spec.shadowkv.rank,
            spec.shadowkv.chunk_size
        ),
        read_bytes: kernel.work.read_bytes.to_string(),
        written_bytes: kernel.work.written_bytes.to_string(),
        host_read_bytes: kernel.work.host_read_bytes.to_string(),
        host_written_bytes: kernel.work.host_written_bytes.to_string(),
        flops: kernel.work.flops.to_string(),
        header: kernel.header,
        constants: constants(&kernel.constants),
        arguments: arguments(&kernel.arguments),
        argument_bytes: kernel.argument_bytes(),
    }
}

fn constants(constants: &[Constant]) -> Vec<ConstantContext> {
    let definitions: Vec<_> = constants
        .iter()
        .map(|constant| format!("{} = {},", constant.name, constant.value))
        .collect();
    let width = definitions.iter().map(String::len).max().unwrap_or(0);
    definitions
        .into_iter()
        .zip(constants)
        .map(|(definition, constant)| ConstantContext {
            definition: format!("{definition:width$}"),
            doc: constant.doc,
        })
        .collect()
}

fn arguments(arguments: &[Argument]) -> Vec<ArgumentContext> {
    arguments
        .iter()
        .map(|argument| ArgumentContext {
            declaration: format!("{}{};", c_type(argument), argument.name),
            comment: textwrap::wrap(&super::launchers::argument_doc(argument), COMMENT_WIDTH)
                .into_iter()
                .map(std::borrow::Cow::into_owned)
                .collect(),
        })
        .collect()
}

/// The C++ type, with what separates it from the name.
fn c_type(argument: &Argument) -> String {
    let element = match argument.dtype {
        Dtype::Bf16 => "bf16",
        Dtype::F32 => "float",
        Dtype::I32 => "i32",
        Dtype::U32 => "u32",
        Dtype::I64 => "i64",
    };
    match argument.access {
        Access::Scalar => format!("{element} "),
        Access::Read => format!("const {element}* "),
        Access::Write | Access::ReadWrite => format!("{element}* "),
    }
}

/// For every line of an emitted file, the line of its template that printed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateLines {
    /// File name of the template.
    pub template: String,
    /// Line of the template (from 1) for each line of the emitted file, in order; lines that a loop or an included part
    /// printed have that of the nearest line above that the template holds literally.
    pub lines: Vec<usize>,
}

/// Finds out which template line printed which line of `file`, for messages about the emitted text.
pub fn template_lines(file: &SourceFile) -> Option<TemplateLines> {
    let wanted = template_name(&file.name);
    let (name, template) = TEMPLATES.iter().find(|(name, _)| *name == wanted)?;
    let mut lines = vec![1; file.text.lines().count()];
    let diff = similar::TextDiff::from_lines(*template, file.text.as_str());
    for operation in diff.ops() {
        if let similar::DiffOp::Equal {
            old_index,
            new_index,
            len,
        } = *operation
        {
            for offset in 0..len {
                if let Some(line) = lines.get_mut(new_index + offset) {
                    *line = old_index + offset + 1;
                }
            }
        }
    }
    let mut last = 1;
    for line in &mut lines {
        last = last.max(*line);
        *line = last;
    }
    Some(TemplateLines {
        template: format!("templates/{name}"),
        lines,
    })
}
