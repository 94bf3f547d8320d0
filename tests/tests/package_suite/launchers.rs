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
            #[expect(clippy::too_many_lines, reason = "a call for each kernel")]
            pub(super) fn launch_all(name: &str, mock: &mut Mock, sizes: &LaunchSizes) -> Result<(), MockError> {
                let LaunchSizes {
                    batch, max_chunks, max_queries, max_tokens, max_window, outlier_capacity, query_rows, sm_count,
                } = *sizes;
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
                            package::rope_append(
                                mock,
                                package::RopeAppendSizes { batch, max_queries },
                                &marked!(package::RopeAppendArguments {
                                    qkv, query_begin, query_count, token_count, row_begin, row_capacity, rope_table,
                                    queries, keys, values, k_pre, keep_k_pre
                                }),
                            )?;
                            package::prefill_attention(
                                mock,
                                package::PrefillAttentionSizes { batch, max_queries },
                                &marked!(package::PrefillAttentionArguments {
                                    queries, keys, values, query_begin, query_count, token_count, row_begin, output
                                }),
                            )?;
                            package::silu_mul(
                                mock,
                                package::SiluMulSizes { query_rows },
                                &marked!(package::SiluMulArguments { gate_up, output }),
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
                            package::store_exact(
                                mock,
                                package::StoreExactSizes { batch, outlier_capacity },
                                &marked!(package::StoreExactArguments {
                                    k_pre, keys, values, token_begin, token_count, chunk_count, outlier_chunks,
                                    outlier_count, row_begin, row_capacity, outlier_keys, outlier_values, window_keys,
                                    window_values, window_k_pre, outlier_capacity
                                }),
                            )?;
                            package::offload_values(
                                mock,
                                package::OffloadValuesSizes {},
                                &marked!(package::OffloadValuesArguments {
                                    values, token_begin, first_chunk, chunk_count, store_begin, store_capacity,
                                    host_values, batch
                                }),
                            )?;
                            package::decode_attention(
                                mock,
                                package::DecodeAttentionSizes { batch, max_tokens },
                                &marked!(package::DecodeAttentionArguments {
                                    queries, keys, values, token_count, row_begin, output, workspace, arrivals
                                }),
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
                                    missing_count, fetch_totals, workspace, arrivals, score_stride
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
                            package::sparse_attention(
                                mock,
                                package::SparseAttentionSizes { batch, max_window, outlier_capacity },
                                &marked!(package::SparseAttentionArguments {
                                    queries, outlier_keys, outlier_values, outlier_count, key_slots, value_slots,
                                    selected_slots, keys, values, row_begin, row_capacity, chunk_count, token_count,
                                    output, workspace, arrivals, outlier_capacity
                                }),
                            )?;
                            package::fold_chunk(
                                mock,
                                package::FoldChunkSizes { batch },
                                &marked!(package::FoldChunkArguments {
                                    k_pre, keys, values, row_begin, row_capacity, chunk_count, fold_count, key_basis,
                                    rope_table, store_begin, store_capacity, outlier_threshold, factors, landmarks,
                                    min_cosines, outlier_mask, host_values, outlier_chunks, outlier_count, outlier_keys,
                                    outlier_values, outlier_capacity
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
    max_queries: u64,
    max_tokens: u64,
    max_window: u64,
    outlier_capacity: u64,
    query_rows: u64,
    sm_count: u64,
}

/// Different numbers, so that one in the place of another shows.
const SIZES: LaunchSizes = LaunchSizes {
    batch: 3,
    max_chunks: 5000,
    max_queries: 901,
    max_tokens: 70_001,
    max_window: 187,
    outlier_capacity: 77,
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
        .with("max_queries", SIZES.max_queries)
        .with("max_tokens", SIZES.max_tokens)
        .with("max_window", SIZES.max_window)
        .with("outlier_capacity", SIZES.outlier_capacity)
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
    let all = launched(SIZES);
    let without = |left_out: &[&str]| -> Vec<String> {
        let stays = |kernel: &&String| !left_out.contains(&kernel.as_str());
        all.iter().filter(stays).cloned().collect()
    };
    // Without tokens there are still a Gram matrix and outputs to be zeroed, and without chunks lists to be emptied.
    let no_tokens = LaunchSizes {
        max_tokens: 0,
        ..SIZES
    };
    assert_eq!(launched(no_tokens), without(&["key_project"]));
    let no_chunks = LaunchSizes {
        max_chunks: 0,
        ..SIZES
    };
    assert_eq!(
        launched(no_chunks),
        without(&["chunk_landmarks", "landmark_score"])
    );
    let no_queries = LaunchSizes {
        max_queries: 0,
        ..SIZES
    };
    assert_eq!(
        launched(no_queries),
        without(&["rope_append", "prefill_attention"])
    );
    let no_rows = LaunchSizes {
        query_rows: 0,
        ..SIZES
    };
    assert_eq!(
        launched(no_rows),
        without(&["embed", "rms_norm", "silu_mul"])
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
