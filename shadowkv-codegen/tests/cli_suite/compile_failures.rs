//! What a person sees when a kernel does not compile.

use shadowkv_codegen::compile::{CompileOptions, KernelFailure, compile};
use shadowkv_codegen::emit::{Package, emit};
use shadowkv_codegen::plan::Plan;
use shadowkv_codegen::spec::Spec;
use shadowkv_runtime::nvrtc::Arch;

use crate::support::{SMALL, nvrtc};

fn package() -> Package {
    let spec = Spec::parse("small.yaml", SMALL, &[]).unwrap();
    emit(&Plan::heuristic(&spec).unwrap()).unwrap()
}

/// Puts `line` before the kernel's body, behind the line that `after` begins.
fn broken(kernel: &str, after: &str, line: &str) -> Package {
    let mut package = package();
    let file = format!("{kernel}.cu");
    let source = package
        .kernels
        .iter_mut()
        .find(|source| source.name == file)
        .unwrap();
    let at = source
        .text
        .find(after)
        .unwrap_or_else(|| panic!("no `{after}` in {file}"));
    let end = at + source.text[at..].find('\n').unwrap() + 1;
    source.text.insert_str(end, &format!("{line}\n"));
    package
}

fn failures(package: &Package, archs: &[Arch]) -> Vec<KernelFailure> {
    let options = CompileOptions {
        jobs: 2.try_into().ok(),
        ..CompileOptions::new(archs)
    };
    let mut compilations = compile(&[package], &nvrtc(), &options, &|_, _| {}).unwrap();
    let compilation = compilations.remove(0);
    assert_eq!(
        compilation.kernels.len() + compilation.failures.len(),
        15 * archs.len()
    );
    compilation.failures
}

/// Line of a text in a file, from 1.
fn line_of(package: &Package, file: &str, text: &str) -> usize {
    let file = package.files().find(|found| found.name == file).unwrap();
    file.text
        .lines()
        .position(|line| line.contains(text))
        .unwrap()
        + 1
}

const KERNEL: &str = "extern \"C\" __global__";

#[test]
fn a_cpp_error_names_kernel_source_and_template() {
    let package = broken("key_gram", "struct Arguments {", "  missing_type wrong;");
    let failures = failures(&package, &[Arch::Sm80]);
    let [failure] = &failures[..] else {
        panic!("{failures:?}")
    };
    let line = line_of(&package, "key_gram.cu", "missing_type");
    let text = failure.to_string();
    assert!(
        text.starts_with("error: kernel `key_gram` of `small` does not compile for sm_80\n"),
        "{text}"
    );
    assert!(
        text.contains("identifier \"missing_type\" is undefined"),
        "{text}"
    );
    assert!(text.contains(&format!("--> key_gram.cu:{line}:")), "{text}");
    assert!(text.contains("missing_type wrong;"), "{text}");
    assert!(
        text.contains("= printed by: templates/key_gram.cu.tera:"),
        "{text}"
    );
    let error = failure.errors().next().unwrap();
    assert_eq!(error.source.as_ref().unwrap().line, line);
}

#[test]
fn an_assertion_in_a_header_names_field_and_header() {
    let mut package = package();
    let header = package
        .headers
        .iter_mut()
        .find(|header| header.name == "spec.cuh")
        .unwrap();
    header.text = header.text.replace("  RANK = 32,", "  RANK = 40,");
    let line = line_of(&package, "spec.cuh", "static_assert(RANK % 16 == 0");
    let template = include_str!("../../../templates/spec.cuh.tera");
    let printed = template
        .lines()
        .position(|line| line.contains("static_assert(RANK % 16 == 0"))
        .unwrap()
        + 1;
    let failures = failures(&package, &[Arch::Sm80, Arch::Sm90]);
    assert!(
        failures.len() >= 2,
        "every kernel that includes it, for every architecture"
    );
    for failure in &failures {
        let text = failure.to_string();
        assert!(
            text.contains("shadowkv.rank must be a multiple of 16"),
            "{text}"
        );
        assert!(text.contains(&format!("--> spec.cuh:{line}:")), "{text}");
        assert!(
            text.contains(&format!("= printed by: templates/spec.cuh.tera:{printed}")),
            "{text}"
        );
    }
    let order: Vec<_> = failures
        .iter()
        .map(|failure| (failure.kernel.clone(), failure.arch))
        .collect();
    let mut expected = Vec::new();
    for kernel in &package.kernels {
        for arch in [Arch::Sm80, Arch::Sm90] {
            let key = (kernel.name.trim_end_matches(".cu").to_owned(), arch);
            expected.extend(order.contains(&key).then_some(key));
        }
    }
    assert_eq!(order, expected);
}

#[test]
fn an_error_of_ptxas_names_the_line_of_ptx_and_the_source() {
    let mut package = package();
    let source = package
        .kernels
        .iter_mut()
        .find(|source| source.name == "gather_values.cu")
        .unwrap();
    let at = source.text.find(KERNEL).unwrap();
    let body = at + source.text[at..].find("{\n").unwrap() + 2;
    source
        .text
        .insert_str(body, "  asm volatile(\"bogus.f32 %0;\" :: \"f\"(1.0f));\n");
    let failures = failures(&package, &[Arch::Sm80]);
    let [failure] = &failures[..] else {
        panic!("{failures:?}")
    };
    let line = line_of(&package, "gather_values.cu", "bogus.f32");
    let text = failure.to_string();
    assert!(
        text.contains("Not a name of any known instruction: 'bogus'"),
        "{text}"
    );
    assert!(text.contains("--> gather_values.ptx:"), "{text}");
    assert!(text.contains("bogus.f32 "), "{text}");
    assert!(
        text.contains(&format!("gather_values.cu:{line}:")),
        "{text}"
    );
    assert!(
        text.contains("= printed by: templates/gather_values.cu.tera:"),
        "{text}"
    );
}

#[test]
fn too_much_static_shared_memory_is_told() {
    let mut package = package();
    let source = package
        .kernels
        .iter_mut()
        .find(|source| source.name == "landmark_score.cu")
        .unwrap();
    let at = source.text.find(KERNEL).unwrap();
    let body = at + source.text[at..].find("{\n").unwrap() + 2;
    let waste = "  __shared__ volatile float waste[20000];\n  waste[threadIdx.x] = 0.0f;\n  __syncthreads();\n";
    source.text.insert_str(body, waste);
    let failures = failures(&package, &[Arch::Sm80]);
    let [failure] = &failures[..] else {
        panic!("{failures:?}")
    };
    let text = failure.to_string();
    assert!(text.contains("80000") || text.contains("0x13880"), "{text}");
}

#[test]
fn two_kernels_that_fail_are_both_told() {
    let mut package = broken("key_gram", "struct Arguments {", "  missing_type wrong;");
    let source = package
        .kernels
        .iter_mut()
        .find(|source| source.name == "key_project.cu")
        .unwrap();
    source.text.push_str("#error on purpose\n");
    let failures = failures(&package, &[Arch::Sm80]);
    let names: Vec<_> = failures
        .iter()
        .map(|failure| failure.kernel.as_str())
        .collect();
    assert_eq!(names, ["key_gram", "key_project"]);
    assert!(
        failures[1].to_string().contains("on purpose"),
        "{}",
        failures[1]
    );
}

#[test]
fn threads_do_not_change_results() {
    let package = package();
    let run = |jobs: usize| {
        let options = CompileOptions {
            jobs: jobs.try_into().ok(),
            ..CompileOptions::new(&[Arch::Sm80])
        };
        compile(&[&package, &package], &nvrtc(), &options, &|_, _| {}).unwrap()
    };
    let (one, four) = (run(1), run(4));
    assert_eq!(one.len(), 2);
    for (left, right) in one.iter().zip(&four) {
        assert_eq!(left.kernels.len(), 15);
        for (left, right) in left.kernels.iter().zip(&right.kernels) {
            assert_eq!(
                (&left.kernel, &left.ptx, &left.resources),
                (&right.kernel, &right.ptx, &right.resources)
            );
            assert!(left.cubin == right.cubin);
            assert_eq!(left.warnings, [], "{}", left.kernel);
        }
    }
}
