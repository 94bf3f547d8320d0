//! What is said about text that is not PTX, or that asks for more than there is.

use super::{kernel_error, module_error};
use shadowkv_emulator::ptx::parse;

#[test]
fn beginnings() {
    for (text, error) in [
        (
            "",
            "ptx:1:1: expected `.version`, which begins every module, found the end of the text",
        ),
        (
            ".version 8",
            "ptx:1:10: expected a version such as `8.4`, found `8`",
        ),
        (
            ".version 8.0\n",
            "ptx:2:1: expected `.target`, found the end of the text",
        ),
        (
            ".version 8.0 .target 80",
            "ptx:1:22: expected a target such as `sm_80`, found `80`",
        ),
        (
            "// é\n é",
            "ptx:2:2: expected `.version`, which begins every module, found `é`",
        ),
        (
            "/* a\n",
            "ptx:1:1: expected `*/` after the comment that begins here",
        ),
        (
            "\u{7}",
            "ptx:1:1: expected `.version`, which begins every module, found `\u{fffd}`",
        ),
    ] {
        assert_eq!(parse(text).unwrap_err().to_string(), error, "{text:?}");
    }
}

#[test]
fn modules() {
    for (text, error) in [
        (
            ".address_size 32",
            "ptx:1:15: expected an address size of 64, found `32`: not supported",
        ),
        (
            "kernel",
            "ptx:1:1: expected a directive of module scope, found `kernel`",
        ),
        (
            ".texref t;",
            "ptx:1:1: expected a directive of module scope, found `.texref`",
        ),
        (
            ".visible .reg .b32 a;",
            "ptx:1:10: expected a directive of module scope, found `.reg`",
        ),
        (
            ".file 1 name",
            "ptx:1:9: expected a file's name, found `name`",
        ),
        (
            ".file 1 \"name\n",
            "ptx:1:9: expected a closing quote on the line where the string begins",
        ),
        (
            ".section .debug_str {\n{ }",
            "ptx:2:4: expected `}`, found the end of the text",
        ),
        (
            ".func f() { {",
            "ptx:1:14: expected `}`, found the end of the text",
        ),
        (
            ".entry k(.reg .u32 a)",
            "ptx:1:10: expected `.param`, found `.reg`",
        ),
        (
            ".entry k(.param .u32 a[])",
            "ptx:1:22: expected a parameter of known size, found an open array",
        ),
        (
            ".entry k(.param .u32 a, .param .u32 a)",
            "ptx:1:37: `a` is declared twice",
        ),
        (
            ".entry k(.param .b8 a[32000], .param .b8 b[800])",
            "ptx:1:42: expected at most 32764 bytes of parameters, found 32800",
        ),
        (
            ".entry k() .fast { }",
            "ptx:1:12: expected a performance directive or a kernel's body, found `.fast`",
        ),
        (
            ".entry k() { }\n.entry k() { }",
            "ptx:2:8: `k` is declared twice",
        ),
        (
            ".entry k() ret;",
            "ptx:1:12: expected a kernel's body, found `ret`",
        ),
        (
            ".entry k() .maxntid x",
            "ptx:1:21: expected a number of threads, found `x`",
        ),
    ] {
        assert_eq!(module_error(text), error, "{text:?}");
    }
}

#[test]
fn variables() {
    for (text, error) in [
        (".global .u31 a;", "ptx:1:9: expected a type, found `.u31`"),
        (
            ".global .u32 .u32 a;",
            "ptx:1:14: expected a name, found `.u32`",
        ),
        (".global a;", "ptx:1:9: expected a type, found `a`"),
        (
            ".global .u32 a",
            "ptx:1:15: expected `;`, found the end of the text",
        ),
        (
            ".global .u32 a; .const .u32 a;",
            "ptx:1:29: `a` is declared twice",
        ),
        (
            ".global .align 3 .u32 a;",
            "ptx:1:16: expected an alignment that is a power of two, found `3`",
        ),
        (
            ".global .align 131072 .u32 a;",
            "ptx:1:16: expected an alignment of at most 65536, found `131072`",
        ),
        (
            ".shared .b8 x[99999999999];",
            "ptx:1:15: expected an array's length of at most 4294967296, found `99999999999`",
        ),
        (
            ".shared .b8 x[99999999999999999999999];",
            "ptx:1:15: expected an array's length of at most 4294967296, found `99999999999999999999999`",
        ),
        (
            ".shared .b64 x[65536][65536];",
            "ptx:1:14: expected a variable of at most 4294967296 bytes, found `x`, which is larger",
        ),
        (
            ".shared .b8 x[1][1][1][1][1][1][1][1][1];",
            "ptx:1:39: expected an array of at most 8 dimensions, found `1`",
        ),
        (
            ".shared .b8 x[2][];",
            "ptx:1:18: expected an array's length, found `]`",
        ),
        (
            ".shared .u32 a = 1;",
            "ptx:1:16: expected no initial value in this state space, found `=`",
        ),
        (
            ".global .u64 a = b;",
            "ptx:1:18: expected a number (initial values that are symbols are not supported), found `b`",
        ),
        (
            ".global .u64 a[1] = {generic(b)};",
            "ptx:1:22: expected a number (initial values that are symbols are not supported), found `generic`",
        ),
        (
            ".global .u8 a = 256;",
            "ptx:1:17: expected an initial value that the variable's type holds, found `256`",
        ),
        (
            ".global .s8 a = -129;",
            "ptx:1:17: expected an initial value that the variable's type holds, found `-129`",
        ),
        (
            ".global .u64 a = 0f00000000;",
            "ptx:1:18: expected an initial value that the variable's type holds, found `0f00000000`",
        ),
        (
            ".global .u8 a[2] = {1, 2, 3};",
            "ptx:1:27: expected no more initial values than the variable has, found `3`",
        ),
        (
            ".global .u8 a[2][2] = {{1, 2, 3}};",
            "ptx:1:31: expected no more initial values than the variable has, found `3`",
        ),
        (".global .u8 a[2] = 1;", "ptx:1:20: expected `{`, found `1`"),
        (
            ".global .u8 a = {1};",
            "ptx:1:17: expected a single value, found `{`",
        ),
        (
            ".global .u8 a[2] = {{1}};",
            "ptx:1:21: expected a single value, found `{`",
        ),
        (
            ".global .u8 a[2][17000000] = {{1}, {2}};",
            "ptx:1:36: expected a module with at most 16 MiB of initial values, found `{`",
        ),
        (
            ".global .u8 a[2][16000000] = {{1}, {2}};\n.global .u8 b[2][16000000] = {{1}, {2}};",
            "ptx:2:36: expected a module with at most 16 MiB of initial values, found `{`",
        ),
    ] {
        assert_eq!(module_error(text), error, "{text:?}");
    }
}

#[test]
fn names() {
    for (body, error) in [
        ("add.s32 %r0, 1, 2;", "ptx:1:9: undeclared register `%r0`"),
        ("mov.u32 %tidy, 1;", "ptx:1:9: undeclared register `%tidy`"),
        (
            "{ .reg .b32 x; }\ntest {x};",
            "ptx:2:7: undeclared register, variable or label `x`",
        ),
        (
            "bra L;\nbra M;",
            "ptx:1:5: undeclared register, variable or label `L`",
        ),
        (
            "{ L: }\nbra L;",
            "ptx:2:5: undeclared register, variable or label `L`",
        ),
        (
            "test [x];",
            "ptx:1:7: undeclared register, variable or label `x`",
        ),
        (
            "test generic(x);",
            "ptx:1:14: undeclared register, variable or label `x`",
        ),
        (
            "@q ret;",
            "ptx:1:2: undeclared register, variable or label `q`",
        ),
        (
            ".reg .b32 q; @q ret;",
            "ptx:1:15: expected a predicate, found `q`",
        ),
        (".reg .b32 x, x;", "ptx:1:14: `x` is declared twice"),
        (".reg .b32 x<2>, x1;", "ptx:1:17: `x1` is declared twice"),
        ("L: L:", "ptx:1:4: `L` is declared twice"),
        (".shared .b32 first;", "ptx:1:14: `first` is declared twice"),
        (
            ".reg .b32 %r<4000000000>;",
            "ptx:1:11: expected at most 1048576 registers in a module, found more with `%r`",
        ),
        (
            ".reg .v2 .f32 v;",
            "ptx:1:6: expected a scalar type, found a vector of registers: not supported",
        ),
        (
            ".reg .b32 x<-1>;",
            "ptx:1:13: expected a number of registers, found `-`",
        ),
    ] {
        assert_eq!(kernel_error(body), error, "{body:?}");
    }
}

#[test]
fn instructions() {
    for (body, error) in [
        ("ret", "ptx:2:1: expected an operand, found `}`"),
        ("test 1 2;", "ptx:1:8: expected `,` or `;`, found `2`"),
        ("test 1,;", "ptx:1:8: expected an operand, found `;`"),
        ("test {1;", "ptx:1:8: expected `,` or `}`, found `;`"),
        ("test {{1}};", "ptx:1:7: expected an operand, found `{`"),
        ("test [1;", "ptx:1:8: expected `]`, found `;`"),
        (
            "test [0f00000000];",
            "ptx:1:7: expected a register, a variable or a number as an address",
        ),
        (
            "test [%laneid];",
            "ptx:1:7: expected a register, a variable or a number as an address",
        ),
        (
            "test [first+4, {1}];",
            "ptx:1:14: expected `]`, as coordinates allow no offset, found `,`",
        ),
        (
            "test [first+1.5];",
            "ptx:1:13: expected an integer as an offset",
        ),
        (
            "test 18446744073709551616;",
            "ptx:1:6: expected an integer of at most 64 bits, found `18446744073709551616`",
        ),
        (
            "test -9223372036854775809;",
            "ptx:1:6: expected an integer of at most 64 bits, found `-9223372036854775809`",
        ),
        (
            "test 0f3F80;",
            "ptx:1:6: expected `0f` and 8 hexadecimal digits, found `0f3F80`",
        ),
        ("test 08;", "ptx:1:6: expected an integer, found `08`"),
        (
            "test %tid;",
            "ptx:1:6: expected one of the components `.x`, `.y`, `.z` after `%tid`, found `;`",
        ),
        (
            "%r1 = 2;",
            "ptx:1:1: expected a statement or `}`, found `%r1`",
        ),
        (
            ".reg .pred p; @p;",
            "ptx:1:17: expected an instruction, found `;`",
        ),
        (
            "@ ret;",
            "ptx:1:3: undeclared register, variable or label `ret`",
        ),
        (
            ".entry x",
            "ptx:1:1: expected a directive of a kernel's body, found `.entry`",
        ),
        (".loc 1 2", "ptx:2:1: expected a column, found `}`"),
        (
            ".loc 1 2 3, here",
            "ptx:1:13: expected `function_name` or `inlined_at`, found `here`",
        ),
        (
            "{",
            "ptx:3:1: expected a statement or `}`, found the end of the text",
        ),
    ] {
        assert_eq!(kernel_error(body), error, "{body:?}");
    }
}

#[test]
fn depth_is_bounded() {
    assert_eq!(
        kernel_error(&"{".repeat(100_000)),
        "ptx:1:64: expected at most 64 blocks inside one another, found `{`"
    );
    assert_eq!(
        kernel_error(&"test {".repeat(100_000)),
        "ptx:1:7: undeclared register, variable or label `test`"
    );
    assert_eq!(
        module_error(&format!(".global .u8 a[1] = {}", "{".repeat(100_000))),
        "ptx:1:21: expected a single value, found `{`"
    );
}

#[test]
fn long_names_are_cut_and_not_copied() {
    let name = "x".repeat(100);
    let cut = "x".repeat(48);
    assert_eq!(
        kernel_error(&format!("test [{name}];")),
        format!("ptx:1:7: undeclared register, variable or label `{cut}...`")
    );
    assert_eq!(
        kernel_error(&format!(".reg .b32 {name}<1000000>;")),
        format!("ptx:1:11: expected a name of at most 64 characters before `<`, found `{cut}...`")
    );
}
