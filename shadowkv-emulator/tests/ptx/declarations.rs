//! Variables, parameters, functions and directives.

use super::{kernel, module};
use shadowkv_emulator::ptx::ast::{Kernel, Position, ScalarType, Space};
use shadowkv_emulator::ptx::parse;

fn initial(text: &str) -> Vec<u8> {
    module(text).variables.remove(0).init
}

#[test]
fn variables_of_every_shape() {
    let module = module(
        ".global .align 4 .u32 A = 64;\n\
         .const .f32 B[2][3];\n\
         .extern .shared .align 16 .b8 dyn[];\n\
         .weak .global .v4 .f32 C, D[2];\n\
         .visible .global .attribute(.managed) .align 8 .b8 _E[1] /* one */ ;\n",
    );
    let found: Vec<_> = module
        .variables
        .iter()
        .map(|v| (v.name.as_str(), v.space, v.ty, v.bytes, v.align, v.external))
        .collect();
    assert_eq!(
        found,
        [
            ("A", Space::Global, ScalarType::U32, Some(4), 4, false),
            ("B", Space::Const, ScalarType::F32, Some(24), 4, false),
            ("dyn", Space::Shared, ScalarType::B8, None, 16, true),
            ("C", Space::Global, ScalarType::F32, Some(16), 16, false),
            ("D", Space::Global, ScalarType::F32, Some(32), 16, false),
            ("_E", Space::Global, ScalarType::B8, Some(1), 8, false),
        ]
    );
    assert_eq!(
        module.variables[0].position,
        Position {
            line: 4,
            column: 23
        }
    );
    assert_eq!(module.variables[0].init, 64u32.to_le_bytes());
}

#[test]
fn initial_values() {
    assert_eq!(initial(".global .b8 a[4] = {1, 2};"), [1, 2]);
    assert_eq!(initial(".global .s8 a[2] = {-1, -128};"), [255, 128]);
    assert_eq!(initial(".global .u16 a = 0xBEEF;"), [0xEF, 0xBE]);
    assert_eq!(initial(".global .s64 a = -2;"), (-2i64).to_le_bytes());
    assert_eq!(initial(".global .b128 a = -1;"), [255; 16]);
    assert_eq!(initial(".global .f32 a = 0f3F800000;"), 1f32.to_le_bytes());
    assert_eq!(initial(".global .f32 a = -2.5;"), (-2.5f32).to_le_bytes());
    assert_eq!(
        initial(".global .f64 a = 0d3FF0000000000000;"),
        1f64.to_le_bytes()
    );
    assert_eq!(
        initial(".global .b8 a[2][3] = {{1}, {2, 3}};"),
        [1, 0, 0, 2, 3]
    );
    assert_eq!(initial(".global .b8 a[2][3] = {1, 2, 3, 4};"), [1, 2, 3, 4]);
    assert_eq!(
        initial(".global .b8 a[2][2][2] = {{{1}, {2}}, {{}, {3}}};"),
        [1, 0, 2, 0, 0, 0, 3]
    );
    assert_eq!(
        initial(".global .v2 .u8 a[2] = {{1, 2}, {3, 4}};"),
        [1, 2, 3, 4]
    );
    let open = module(".const .u16 a[] = {1, 2, 3};").variables.remove(0);
    assert_eq!(open.bytes, Some(6));
}

#[test]
fn an_external_declaration_may_precede_its_definition() {
    let module = module(".extern .global .u32 a;\n.global .u32 a = 1;\n.extern .global .u32 a;");
    assert_eq!(module.variables.len(), 1);
    assert!(!module.variables[0].external);
    assert_eq!(module.variables[0].init, [1, 0, 0, 0]);
}

#[test]
fn parameters_lie_as_in_a_c_structure() {
    let kernel = module(
        ".entry k(\n.param .u8 a,\n.param .u64 .ptr .global .align 1 b,\n.param .align 16 .b8 c[20],\n\
         .param .u16 d\n) { ret; }",
    )
    .kernels
    .remove(0);
    let layout: Vec<_> = kernel
        .parameters
        .iter()
        .map(|p| (p.name.as_str(), p.offset, p.bytes))
        .collect();
    assert_eq!(
        layout,
        [("a", 0, 1), ("b", 8, 8), ("c", 16, 20), ("d", 36, 2)]
    );
    assert_eq!(kernel.parameter_bytes, 38);
}

#[test]
fn kernels_without_parameters() {
    let module = module(".entry a { ret; }\n.entry b() { ret; }\n.extern .entry c(.param .u32 x);");
    let names: Vec<_> = module
        .kernels
        .iter()
        .map(|kernel| kernel.name.as_str())
        .collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(module.kernels[0].parameter_bytes, 0);
}

#[test]
fn performance_directives() {
    let directives = |text: &str| -> Kernel {
        module(&format!(".entry k() {text} {{ ret; }}"))
            .kernels
            .remove(0)
    };
    let kernel = directives(".maxntid 256, 2\n.minnctapersm 2 .maxnreg 64 .pragma \"nounroll\";");
    assert_eq!(kernel.max_threads, Some([256, 2, 1]));
    assert_eq!(kernel.required_threads, None);
    let kernel = directives(
        ".reqntid 128 .reqnctapercluster 2, 1, 1 .explicitcluster .maxclusterrank 8 .noreturn",
    );
    assert_eq!(kernel.required_threads, Some([128, 1, 1]));
}

#[test]
fn device_functions_are_passed_over() {
    let module = module(
        ".extern .func (.param .b32 r) printf (.param .b64 a, .param .b64 b);\n\
         .weak .func (.reg .u32 x) twice (.reg .u32 y) .noreturn { { add.u32 x, y, y; } ret; }\n\
         .alias a, b;\n.entry k() { ret; }",
    );
    assert_eq!(module.kernels.len(), 1);
}

#[test]
fn a_call_keeps_its_name() {
    let kernel = kernel(
        "{ // callseq\n.param .b64 param0;\n.param .b32 retval0;\nst.param.b64 [param0+0], 1;\n\
         call.uni (retval0), printf, (param0, param0);\n}\nP: .callprototype (.param .b32 _) _ (.param .b64 _);",
    );
    assert_eq!(kernel.instructions[1].full_name(), "call.uni");
    assert!(
        kernel
            .variables
            .iter()
            .all(|variable| variable.space == Space::Param)
    );
}

#[test]
fn locations() {
    let kernel = kernel(
        "exit;\n.loc 1 2 3\nexit;\n.loc 1 5 3\n.loc 2 9 4, function_name $L__info+16, inlined_at 1 5 3\nexit;\nexit;",
    );
    let found: Vec<_> = kernel
        .instructions
        .iter()
        .map(|instruction| {
            let location = kernel.locations[instruction.location? as usize];
            Some((
                location.file,
                location.line,
                location.column,
                location.inlined_at,
            ))
        })
        .collect();
    assert_eq!(
        found,
        [
            None,
            Some((1, 2, 3, None)),
            Some((2, 9, 4, Some((1, 5)))),
            Some((2, 9, 4, Some((1, 5)))),
        ]
    );
}

#[test]
fn sections_files_and_comments_may_stand_anywhere() {
    let module = module(
        "/* a\n comment */ .file 1 \"a \\\"b\\\".cu\", 12, 34\n.pragma \"x\";\n\
         .section .debug_info {\n.b32 $L__x+4\n{ } .b8 1,2\n}\n.entry k() { ret; } // é\n.file 2 \"c.cu\"",
    );
    assert_eq!(
        module.files,
        [(1, "a \\\"b\\\".cu".to_owned()), (2, "c.cu".to_owned())]
    );
}

#[test]
fn target_options() {
    let module = parse(".version 7.0 .target sm_90a, debug").unwrap();
    assert_eq!((module.version, module.target.as_str()), ((7, 0), "sm_90a"));
}
