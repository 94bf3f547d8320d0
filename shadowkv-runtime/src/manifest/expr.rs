//! The small grammar of sizes: literals, names, `+ - *`, `ceil_div`, `round_up`, `min`, `max`.

use serde::{Deserialize, Serialize};

/// A size expression (to be parsed and evaluated).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Expr(String);
/// Named sizes.
#[derive(Clone, Debug, Default)]
pub struct Sizes;
/// Why an expression cannot be evaluated.
#[derive(Clone, Debug)]
pub struct EvalError;
/// Why a text is no expression.
#[derive(Clone, Debug)]
pub struct ExprError;
