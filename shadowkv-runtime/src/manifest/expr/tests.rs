#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

use proptest::prelude::*;

use super::*;

fn parsed(text: &str) -> Expr {
    text.parse()
        .unwrap_or_else(|error| panic!("`{text}`: {error}"))
}

fn sizes() -> Sizes {
    Sizes::new()
        .with("tokens", 1000)
        .with("heads", 8)
        .with("zero", 0)
}

#[test]
fn values() {
    for (text, value) in [
        ("7", 7),
        ("tokens", 1000),
        ("1 + 2 * 3", 7),
        ("(1 + 2) * 3", 9),
        ("10 - 3 - 2", 5),
        ("10 - (3 - 2)", 9),
        ("ceil_div(tokens, 64) * heads", 128),
        ("round_up(tokens, 64)", 1024),
        ("round_up(zero, 64)", 0),
        ("min(tokens, 8)+max(tokens, 8)", 1008),
        ("18446744073709551615", u64::MAX),
        ("ceil_div(18446744073709551615, 2)", 1 << 63),
        (" \t( 2\n) ", 2),
    ] {
        assert_eq!(parsed(text).eval(&sizes()), Ok(value), "{text}");
    }
}

#[test]
fn canonical_text_has_no_needless_brackets() {
    for (text, canonical) in [
        ("((a))+(b*c)", "a + b * c"),
        ("(a+b)*c", "(a + b) * c"),
        ("a-(b-c)", "a - (b - c)"),
        ("(a-b)-c", "a - b - c"),
        ("a+(b+c)", "a + (b + c)"),
        ("a*(b*c)", "a * (b * c)"),
        ("ceil_div((a+1),(b))*2", "ceil_div(a + 1, b) * 2"),
        ("007", "7"),
    ] {
        assert_eq!(parsed(text).to_string(), canonical);
    }
}

#[test]
fn what_is_wrong_with_a_text() {
    for (text, message) in [
        (
            "",
            "at byte 0: expected a number, a name, a function or `(`, found the end",
        ),
        (
            "1 + ",
            "at byte 4: expected a number, a name, a function or `(`, found the end",
        ),
        (
            "1 2",
            "at byte 2: expected `+`, `-`, `*` or the end, found `2`",
        ),
        (
            "(1",
            "at byte 2: expected `+`, `-`, `*` or `)`, found the end",
        ),
        (
            "min(1)",
            "at byte 5: expected `+`, `-`, `*` or `,`, found `)`",
        ),
        (
            "min(1, 2, 3)",
            "at byte 8: expected `+`, `-`, `*` or `)`, found `,`",
        ),
        (
            "min + 1",
            "at byte 4: expected `(` after a function's name, found `+`",
        ),
        (
            "a / 2",
            "at byte 2: expected `+`, `-`, `*` or the end, found `/`",
        ),
        (
            "Tokens",
            "at byte 0: expected a number, a name, a function or `(`, found `T`",
        ),
        (
            "1 + é",
            "at byte 4: expected a number, a name, a function or `(`, found `é`",
        ),
        (
            "log(2, 3)",
            "at byte 0: `log` is no function; expected `ceil_div`, `round_up`, `min` or `max`",
        ),
        (
            "2 * 18446744073709551616",
            "at byte 4: expected a number up to 18446744073709551615, found `18446744073709551616`",
        ),
    ] {
        assert_eq!(
            text.parse::<Expr>().unwrap_err().to_string(),
            message,
            "{text}"
        );
    }
}

#[test]
fn what_is_wrong_with_sizes() {
    for (text, message) in [
        (
            "batch",
            "size `batch` is not known; known are: heads, tokens, zero",
        ),
        (
            "heads * (1 + (heads - tokens))",
            "`heads - tokens` is below zero (8 - 1000)",
        ),
        (
            "1 + ceil_div(tokens, zero)",
            "`ceil_div(tokens, zero)` divides by zero",
        ),
        (
            "round_up(tokens, zero)",
            "`round_up(tokens, zero)` divides by zero",
        ),
        (
            "18446744073709551615 + heads",
            "`18446744073709551615 + heads` overflows 64 bits (operands 18446744073709551615 and 8)",
        ),
    ] {
        assert_eq!(
            parsed(text).eval(&sizes()).unwrap_err().to_string(),
            message
        );
    }
    let error = parsed("round_up(18446744073709551615, heads)").eval(&sizes());
    assert!(matches!(error, Err(EvalError::Overflow { .. })));
    let error = parsed("a").eval(&Sizes::new()).unwrap_err();
    assert_eq!(error.to_string(), "size `a` is not known; known are: none");
}

#[test]
fn hostile_texts_are_errors() {
    let brackets = "(".repeat(60_000);
    assert!(matches!(
        brackets.parse::<Expr>(),
        Err(ExprError::TooDeep { .. })
    ));
    let calls = "min(".repeat(10_000);
    assert!(matches!(
        calls.parse::<Expr>(),
        Err(ExprError::TooDeep { .. })
    ));
    let chain = "1".to_owned() + &"+1".repeat(10_000);
    assert!(matches!(
        chain.parse::<Expr>(),
        Err(ExprError::TooDeep { .. })
    ));
    let wide = (0..40).fold("1".to_owned(), |text, _| {
        format!("{text}+(1*1*1*1*1*1*1*1)")
    });
    assert!(matches!(
        wide.parse::<Expr>(),
        Err(ExprError::TooLarge { .. })
    ));
    let long = " ".repeat(MAX_TEXT_BYTES + 1);
    assert!(matches!(
        long.parse::<Expr>(),
        Err(ExprError::TooLong { .. })
    ));
    let name = "n".repeat(MAX_NAME_BYTES + 1);
    assert!(matches!(
        name.parse::<Expr>(),
        Err(ExprError::BadName { .. })
    ));
}

#[test]
fn names_and_simplification() {
    let expr = parsed("a * ceil_div(b, a) + 2");
    assert_eq!(expr.names().into_iter().collect::<Vec<_>>(), ["a", "b"]);
    for (text, simple) in [
        ("2 * 3 * a", "6 * a"),
        ("(a + 0) * 1 - 0", "a"),
        ("0 + 1 * a", "a"),
        ("ceil_div(a, 4 - 3) + round_up(7, 4)", "a + 8"),
        ("1 - 2", "1 - 2"),
        ("0 * a", "0 * a"),
        ("min(ceil_div(8, 0), a)", "min(ceil_div(8, 0), a)"),
    ] {
        assert_eq!(parsed(text).simplify().to_string(), simple);
    }
    assert_eq!(parsed("2 * 3").simplify().as_constant(), Some(6));
}

#[test]
fn constructors_and_serde() {
    assert_eq!(Expr::from(3u32), parsed("3"));
    assert_eq!(Expr::from(3u64), Expr::constant(3));
    assert_eq!(Expr::name("kv_heads").unwrap(), parsed("kv_heads"));
    for bad in ["", "8a", "A", "a-b", "min", "é"] {
        assert!(
            matches!(Expr::name(bad), Err(ExprError::BadName { .. })),
            "{bad}"
        );
    }
    let json = serde_json::to_string(&parsed("(a+b)*2")).unwrap();
    assert_eq!(json, r#""(a + b) * 2""#);
    assert_eq!(
        serde_json::from_str::<Expr>(&json).unwrap(),
        parsed("(a+b)*2")
    );
    let error = serde_json::from_str::<Expr>(r#""a +""#).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("expression `a +`: at byte 3: expected"),
        "{error}"
    );
}

fn any_node() -> impl Strategy<Value = Node> {
    let leaf = prop_oneof![
        any::<u64>().prop_map(Node::Constant),
        (0u64..4).prop_map(Node::Constant),
        "[a-c_][a-z0-9_]{0,3}"
            .prop_filter("a function's name", |name| Op::function(name).is_none())
            .prop_map(Node::Name),
    ];
    let op = prop::sample::select(vec![
        Op::Add,
        Op::Sub,
        Op::Mul,
        Op::CeilDiv,
        Op::RoundUp,
        Op::Min,
        Op::Max,
    ]);
    leaf.prop_recursive(8, 128, 2, move |inner| {
        (op.clone(), inner.clone(), inner)
            .prop_map(|(op, left, right)| Node::Apply(op, Box::new(left), Box::new(right)))
    })
}

proptest! {
    #[test]
    fn text_round_trips(node in any_node()) {
        let expr = Expr(node);
        prop_assert_eq!(parsed(&expr.to_string()), expr);
    }

    #[test]
    fn simplification_keeps_the_value(node in any_node(), value in 0u64..100) {
        let expr = Expr(node);
        let sizes: Sizes = expr.names().into_iter().map(|name| (name, value)).collect();
        let simple = expr.simplify();
        prop_assert_eq!(simple.eval(&sizes).ok(), expr.eval(&sizes).ok());
        prop_assert_eq!(simple.names(), expr.names());
        prop_assert_eq!(parsed(&simple.to_string()), simple);
    }

    #[test]
    fn no_text_panics(text in any::<String>()) {
        let _ = text.parse::<Expr>();
    }

    #[test]
    fn no_near_miss_panics(text in "[0-9a-c_(),+*\\- mixn]{0,60}") {
        if let Ok(expr) = text.parse::<Expr>() {
            let _ = expr.eval(&sizes());
            prop_assert_eq!(parsed(&expr.to_string()), expr);
        }
    }
}
