//! The launchers that are checked in compile, and each reaches its own kernel with its own geometry and arguments.

use std::collections::BTreeSet;

use shadowkv_codegen::plan::KERNELS;
use shadowkv_runtime::launch::Launch as _;
use shadowkv_runtime::manifest::{EvalError, Expr, GeometryError, Kernel, Manifest, Sizes};
use shadowkv_tests::{root, shipped};

use crate::mock::{Marked, Mock, MockError, layout, mark};

/// The generated modules, and the macro that lists them.
#[allow(
    dead_code,
    unreachable_pub,
    clippy::doc_markdown,
    clippy::unused_self,
    reason = "written for a module that others use, and for its constants to be used"
)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/launchers.rs"));

    /// Makes the arguments of a kernel, each with the mark of its name.
    macro_rules! marked {
        ($module:ident::$type:ident { $($field:ident),* $(,)? }) => {
            $module::$type { $($field: Marked::marked(stringify!($field))),* }
        };
    }

    /// Launches every kernel of a package through its typed function.
    macro_rules! launch_all {
        ($(($module:ident, $name:literal))*) => {
            /// The packages there are launchers of.
            pub(super) const PACKAGES: &[&str] = &[$($name),*];

            /// Launches every kernel of the package `name`, and returns the kernels of the functions called.
            pub(super) fn launch_all(name: &str, mock: &mut Mock, sizes: &LaunchSizes) -> Result<(), MockError> {
                let LaunchSizes { batch, max_chunks, max_tokens, query_rows, sm_count } = *sizes;
                match name {
                    $($name => {
                        use $module as package;
                        // SAFETY: nothing is launched, and no pointer followed.
                        unsafe {
                            package::embed(
                                mock,
                                package::EmbedSizes { query_rows },
                                &marked!(package::EmbedArguments { token_ids, table, output }),
                            )?;
                            package::rms_norm(
                                mock,
                                package::RmsNormSizes { query_rows },
                                &marked!(package::RmsNormArguments { x, residual, weight, output, add_x }),
                            )?;
                            package::key_gram(
                                mock,
                                package::KeyGramSizes { batch, max_tokens, sm_count },
                                &marked!(package::KeyGramArguments {
                                    k_pre, token_begin, token_count, gram, workspace, arrivals
                                }),
                            )?;
                            package::key_project(
                                mock,
                                package::KeyProjectSizes { batch, max_tokens },
                                &marked!(package::KeyProjectArguments {
                                    k_pre, token_begin, token_count, first_chunk, key_basis, store_begin, store_capacity,
                                    factors
                                }),
                            )?;
                            package::chunk_landmarks(
                                mock,
                                package::ChunkLandmarksSizes { batch, max_chunks },
                                &marked!(package::ChunkLandmarksArguments {
                                    k_pre, token_begin, first_chunk, chunk_count, store_begin, store_capacity, rope_table,
                                    landmarks, min_cosines
                                }),
                            )?;
                            package::select_outliers(
                                mock,
                                package::SelectOutliersSizes { batch },
                                &marked!(package::SelectOutliersArguments {
                                    min_cosines, chunk_count, store_begin, store_capacity, outlier_chunks, outlier_count,
                                    outlier_threshold, outlier_mask, outlier_capacity
                                }),
                            )?;
                            package::silu_mul(
                                mock,
                                package::SiluMulSizes { query_rows },
                                &marked!(package::SiluMulArguments { gate_up, output }),
                            )?;
                            package::landmark_score(
                                mock,
                                package::LandmarkScoreSizes { batch, max_chunks },
                                &marked!(package::LandmarkScoreArguments {
                                    queries, landmarks, outlier_mask, chunk_count, store_begin, store_capacity, scores,
                                    span_softmax, score_stride
                                }),
                            )?;
                            package::select_chunks(
                                mock,
                                package::SelectChunksSizes { batch, max_chunks, sm_count },
                                &marked!(package::SelectChunksArguments {
                                    scores, span_softmax, chunk_count, step, sequence_epoch, slot_epoch, slot_chunk,
                                    slot_stamp, selected_chunks, selected_slots, missing_chunks, missing_slots,
                                    missing_count, workspace, arrivals, score_stride
                                }),
                            )?;
                            package::gather_values(
                                mock,
                                package::GatherValuesSizes {},
                                &marked!(package::GatherValuesArguments {
                                    host_values, store_begin, store_capacity, missing_chunks, missing_slots, missing_count,
                                    value_slots, batch
                                }),
                            )?;
                            package::reconstruct_keys(
                                mock,
                                package::ReconstructKeysSizes { batch, sm_count },
                                &marked!(package::ReconstructKeysArguments {
                                    factors, key_basis, store_begin, store_capacity, rope_table, missing_chunks,
                                    missing_slots, missing_count, key_slots
                                }),
                            )?;
                            package::sample(
                                mock,
                                package::SampleSizes { batch },
                                &marked!(package::SampleArguments {
                                    logits, temperature, top_k, top_p, seed, step, token_ids, logprob
                                }),
                            )
                        }
                    })*
                    _ => panic!("no launchers of `{name}` are checked in"),
                }
            }
        };
    }

    use super::{LaunchSizes, Marked, Mock, MockError};

    /// Arguments of one kernel of one package.
    pub(super) fn key_project_of_glm4() -> package_glm4::KeyProjectArguments {
        marked!(package_glm4::KeyProjectArguments {
            k_pre,
            token_begin,
            token_count,
            first_chunk,
            key_basis,
            store_begin,
            store_capacity,
            factors
        })
    }

    for_each_package!(launch_all);
}

/// What the host knows before a launch.
#[derive(Clone, Copy)]
struct LaunchSizes {
    batch: u64,
    max_chunks: u64,
    max_tokens: u64,
    query_rows: u64,
    sm_count: u64,
}

/// Different numbers, so that one in the place of another shows.
const SIZES: LaunchSizes = LaunchSizes {
    batch: 3,
    max_chunks: 5000,
    max_tokens: 70_001,
    query_rows: 47,
    sm_count: 132,
};

/// Launches every kernel of a package.
fn launch_all(package: &str, sizes: &LaunchSizes) -> Mock {
    let mut mock = Mock::new(manifest(package));
    generated::launch_all(package, &mut mock, sizes)
        .unwrap_or_else(|error| panic!("{package}: {error}"));
    mock
}

fn manifest(package: &str) -> Manifest {
    let path = root()
        .join("kernels-generated")
        .join(package)
        .join("manifest.json");
    Manifest::load(path).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn every_shipped_spec_has_launchers() {
    let shipped: Vec<_> = shipped()
        .iter()
        .map(|case| case.name().to_owned())
        .collect();
    let found: BTreeSet<_> = generated::PACKAGES
        .iter()
        .map(|name| (*name).to_owned())
        .collect();
    assert_eq!(
        found,
        shipped.into_iter().collect(),
        "kernels-generated beside model-specs"
    );
}

#[test]
fn every_function_reaches_its_kernel() {
    let all = Sizes::new()
        .with("batch", SIZES.batch)
        .with("max_chunks", SIZES.max_chunks)
        .with("max_tokens", SIZES.max_tokens)
        .with("query_rows", SIZES.query_rows)
        .with("sm_count", SIZES.sm_count);
    for case in shipped() {
        let plan = case.plan();
        let mock = launch_all(case.name(), &SIZES);
        let reached: Vec<_> = mock
            .launches
            .iter()
            .map(|launch| launch.kernel.as_str())
            .collect();
        let planned: Vec<_> = KERNELS.iter().map(|kernel| kernel.name).collect();
        assert_eq!(
            reached,
            planned,
            "{}: one launch per kernel, in the order of the calls",
            case.name()
        );
        for (launch, kernel) in mock.launches.iter().zip(&plan.kernels) {
            let place = format!("{} of {}", kernel.name, case.name());
            assert_eq!(launch.entry, kernel.entry, "{place}");
            assert_eq!(
                Some(launch.dims),
                kernel.geometry.evaluate(&all).unwrap(),
                "{place}: geometry"
            );
            assert_eq!(
                launch.arguments.len(),
                kernel.arguments.len(),
                "{place}: arguments"
            );
            for (bytes, argument) in launch.arguments.iter().zip(&kernel.arguments) {
                let expected = &mark(&argument.name).to_le_bytes()[..bytes.len()];
                assert_eq!(
                    bytes, expected,
                    "{place}: bytes at the place of `{}`",
                    argument.name
                );
            }
        }
    }
}

#[test]
fn a_size_that_is_not_given_is_named() {
    for kernel in manifest("glm4").kernels {
        let names = names(&kernel);
        for missing in &names {
            let given = names.iter().filter(|name| *name != missing);
            let sizes: Sizes = given.map(|name| (name.clone(), 1)).collect();
            let error = kernel.geometry.evaluate(&sizes).unwrap_err();
            let GeometryError::Eval {
                source: EvalError::UnknownName { name, .. },
                ..
            } = &error
            else {
                panic!("{}: {error}", kernel.name);
            };
            assert_eq!(name, missing, "{}", kernel.name);
        }
    }
}

/// A launcher that is given sizes of another kernel launches nothing.
#[test]
fn nothing_is_launched_without_its_sizes() {
    let mut mock = Mock::new(manifest("glm4"));
    let arguments = generated::key_project_of_glm4();
    // SAFETY: nothing is launched, and no pointer followed.
    let outcome = unsafe { mock.launch(&Sizes::new().with("batch", 1), &arguments) };
    let Err(MockError::Geometry(error)) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(
        error.to_string(),
        "grid y = `ceil_div(max_tokens, 128)`: size `max_tokens` is not known; known are: batch"
    );
    assert_eq!(mock.launches, []);
}

#[test]
fn nothing_to_do_is_no_launch() {
    let launched = |sizes: LaunchSizes| {
        launch_all("glm4", &sizes)
            .launches
            .into_iter()
            .map(|launch| launch.kernel)
            .collect::<Vec<_>>()
    };
    // Without tokens there is still a Gram matrix to be zeroed, and without chunks lists to be emptied.
    assert_eq!(
        launched(LaunchSizes {
            max_tokens: 0,
            ..SIZES
        }),
        [
            "embed",
            "rms_norm",
            "key_gram",
            "chunk_landmarks",
            "select_outliers",
            "silu_mul",
            "landmark_score",
            "select_chunks",
            "gather_values",
            "reconstruct_keys",
            "sample"
        ]
    );
    assert_eq!(
        launched(LaunchSizes {
            max_chunks: 0,
            ..SIZES
        }),
        [
            "embed",
            "rms_norm",
            "key_gram",
            "key_project",
            "select_outliers",
            "silu_mul",
            "select_chunks",
            "gather_values",
            "reconstruct_keys",
            "sample"
        ]
    );
    let without_rows = launched(LaunchSizes {
        query_rows: 0,
        ..SIZES
    });
    let of_rows = ["embed", "rms_norm", "silu_mul"];
    assert!(
        without_rows
            .iter()
            .all(|kernel| !of_rows.contains(&kernel.as_str()))
    );
}

/// A launcher may read the arguments as bytes: there is no padding between or after them.
#[test]
fn arguments_have_no_padding() {
    for case in shipped() {
        for kernel in manifest(case.name()).kernels {
            let (places, size) = layout(&kernel.arguments);
            let members: usize = places.iter().map(|(_, bytes)| bytes).sum();
            assert_eq!(members, size, "{} of {}", kernel.name, case.name());
        }
    }
}

/// A batch of no sequences is nothing to do; it never becomes a launch or an error.
#[test]
fn no_kernel_runs_on_an_empty_batch() {
    for kernel in manifest("glm4").kernels {
        let names = names(&kernel);
        if !names.contains("batch") {
            continue;
        }
        let sizes: Sizes = names
            .iter()
            .map(|name| (name.clone(), u64::from(name != "batch")))
            .collect();
        let dims = kernel.geometry.evaluate(&sizes);
        assert!(matches!(dims, Ok(None)), "{}: {dims:?}", kernel.name);
    }
}

/// The sizes that the grid of a kernel names.
fn names(kernel: &Kernel) -> BTreeSet<String> {
    kernel.geometry.grid.iter().flat_map(Expr::names).collect()
}
