//! Every kind of bad spec beside the exact text printed: `spec_errors/NAME.yaml` and `NAME.stderr`.
//!
//! A first line `# set: path=value` is an override.

use shadowkv_codegen::spec::{Override, ProblemKind, Spec, SpecError};

use crate::pairs;

#[test]
fn every_bad_spec_prints_its_text() {
    pairs::check(
        &pairs::folder("spec_errors"),
        "yaml",
        &["stderr"],
        |name, bytes| {
            let text = std::str::from_utf8(bytes).unwrap();
            let overrides: Vec<Override> = text
                .lines()
                .next()
                .and_then(|line| line.strip_prefix("# set: "))
                .into_iter()
                .map(|set| set.parse().unwrap())
                .collect();
            let error = Spec::parse(&format!("{name}.yaml"), text, &overrides)
                .expect_err(&format!("{name}.yaml is accepted"));
            (("stderr"), format!("{}\n", error.render(false)))
        },
    );
}

#[test]
fn one_line_names_the_first_place_and_counts_the_rest() {
    let text = "name: a\nattention: { head_dim: 100, kv_heads: 1, gqa_ratio: 0 }\nrope: { base: 1e4 }\nshadowkv: { rank: 16, chunk_size: 8 }\n";
    let error = Spec::parse("x.yaml", text, &[]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "x.yaml:2:24: `attention.head_dim` cannot be 100 (and 1 more)"
    );
}

#[test]
fn colour_adds_escapes_and_nothing_else() {
    let error = Spec::parse("x.yaml", "name: [\n", &[]).unwrap_err();
    let (plain, styled) = (error.render(false), error.render(true));
    assert!(!plain.contains('\u{1b}') && styled.contains('\u{1b}'));
    let mut stripped = String::new();
    let mut inside = false;
    for c in styled.chars() {
        match c {
            '\u{1b}' => inside = true,
            'm' if inside => inside = false,
            c if !inside => stripped.push(c),
            _ => {}
        }
    }
    assert_eq!(stripped, plain);
}

#[test]
fn a_malformed_override_names_itself() {
    let text = |set: &str| set.parse::<Override>().unwrap_err().to_string();
    assert_eq!(text("shadowkv.rank"), "`--set shadowkv.rank` has no `=`");
    assert_eq!(text("=4"), "`--set =4`: `` is not a path of fields");
    assert_eq!(
        text("a..b=4"),
        "`--set a..b=4`: `a..b` is not a path of fields"
    );
    assert_eq!(
        text("shadowkv.rank="),
        "`--set shadowkv.rank=`: the value is empty"
    );
    assert_eq!(
        text("a=*x"),
        "`--set a=*x`: not valid YAML: while parsing node, found unknown anchor"
    );
}

#[test]
fn problems_can_be_asked_for_their_place() {
    let text = "name: ünï\nattention: { head_dim: 64, kv_heads: 1, gqa_ratio: 1 }\nrope: { base: 1e4 }\nshadowkv: { rank: 17, chunk_size: 8 }\n";
    let set = "attention.gqa_ratio=99".parse().unwrap();
    let SpecError::Invalid(invalid) = Spec::parse("x.yaml", text, &[set]).unwrap_err() else {
        panic!("not a bad spec")
    };
    let found: Vec<_> = invalid
        .problems()
        .iter()
        .map(|problem| {
            (
                problem.path.as_str(),
                problem.kind,
                invalid.line_column(problem),
            )
        })
        .collect();
    assert_eq!(
        found,
        [
            ("name", ProblemKind::OutOfRange, Some((1, 7))),
            ("shadowkv.rank", ProblemKind::OutOfRange, Some((4, 19))),
            ("attention.gqa_ratio", ProblemKind::OutOfRange, None),
        ]
    );
}
