//! The small grammar of sizes: literals, names, `+ - *`, `ceil_div`, `round_up`, `min`, `max`.
//!
//! ```text
//! expr   = term { ("+" | "-") term }
//! term   = factor { "*" factor }
//! factor = digits | name | function "(" expr "," expr ")" | "(" expr ")"
//! name   = [a-z_][a-z0-9_]*            at most 64 characters, no function's name
//! ```
//!
//! Values are `u64`; a result that would not be one (overflow, below zero, division by zero) is an
//! error that shows the sub-expression. Nothing wraps and nothing saturates.
//!
//! ```
//! use shadowkv_runtime::manifest::{Expr, Sizes};
//!
//! let blocks: Expr = "ceil_div(tokens, 64) * heads".parse()?;
//! let sizes = Sizes::new().with("tokens", 1000).with("heads", 8);
//! assert_eq!(blocks.eval(&sizes)?, 128);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod error;
mod parse;
mod print;
mod sizes;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

pub use error::{EvalError, ExprError};
pub use sizes::Sizes;

/// Most bytes of text that are looked at.
pub(crate) const MAX_TEXT_BYTES: usize = 64 * 1024;
/// Most literals, names and operations together.
pub(crate) const MAX_NODES: usize = 512;
/// Deepest nesting, of brackets as of the operations themselves.
pub(crate) const MAX_DEPTH: usize = 128;
/// Longest name, in bytes.
pub(crate) const MAX_NAME_BYTES: usize = 64;

/// An integer expression over named sizes.
///
/// Two expressions are equal when their structure is: `a + b` is not `b + a`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Expr(Node);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Node {
    Constant(u64),
    Name(String),
    Apply(Op, Box<Node>, Box<Node>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Op {
    Add,
    Sub,
    Mul,
    CeilDiv,
    RoundUp,
    Min,
    Max,
}

impl Op {
    const FUNCTIONS: [Op; 4] = [Op::CeilDiv, Op::RoundUp, Op::Min, Op::Max];

    fn symbol(self) -> &'static str {
        match self {
            Op::Add => "+",
            Op::Sub => "-",
            Op::Mul => "*",
            Op::CeilDiv => "ceil_div",
            Op::RoundUp => "round_up",
            Op::Min => "min",
            Op::Max => "max",
        }
    }

    fn function(name: &str) -> Option<Op> {
        Op::FUNCTIONS.into_iter().find(|op| op.symbol() == name)
    }

    fn apply(self, left: u64, right: u64) -> Result<u64, Fault> {
        match self {
            Op::Add => left.checked_add(right).ok_or(Fault::Overflow),
            Op::Sub => left.checked_sub(right).ok_or(Fault::BelowZero),
            Op::Mul => left.checked_mul(right).ok_or(Fault::Overflow),
            Op::CeilDiv | Op::RoundUp if right == 0 => Err(Fault::DivisionByZero),
            Op::CeilDiv => Ok(left.div_ceil(right)),
            Op::RoundUp => left.checked_next_multiple_of(right).ok_or(Fault::Overflow),
            Op::Min => Ok(left.min(right)),
            Op::Max => Ok(left.max(right)),
        }
    }
}

/// What can go wrong in one operation; [`EvalError`] adds where.
enum Fault {
    Overflow,
    BelowZero,
    DivisionByZero,
}

impl Expr {
    /// A literal.
    pub fn constant(value: u64) -> Expr {
        Expr(Node::Constant(value))
    }

    /// A named size.
    ///
    /// # Errors
    /// [`ExprError::BadName`] when `name` is not `[a-z_][a-z0-9_]*`, is longer than 64 bytes or is
    /// the name of a function.
    pub fn name(name: &str) -> Result<Expr, ExprError> {
        parse::check_name(name, 0)?;
        Ok(Expr(Node::Name(name.to_owned())))
    }

    /// The value for the given sizes.
    ///
    /// # Errors
    /// An unknown name, an overflow, a difference below zero or a division by zero.
    pub fn eval(&self, sizes: &Sizes) -> Result<u64, EvalError> {
        self.0.eval(sizes)
    }

    /// Every name that occurs, sorted.
    pub fn names(&self) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        self.0.collect_names(&mut names);
        names
    }

    /// The value when the expression is a single literal.
    pub fn as_constant(&self) -> Option<u64> {
        match self.0 {
            Node::Constant(value) => Some(value),
            _ => None,
        }
    }

    /// Folds operations on literals and drops neutral elements (`x + 0`, `x - 0`, `x * 1`,
    /// `ceil_div(x, 1)`, `round_up(x, 1)`).
    ///
    /// Every name stays, and so does an operation that cannot be carried out (`1 - 2`): wherever
    /// `self` has a value, the result has the same one, and where it has none neither has the result.
    #[must_use]
    pub fn simplify(&self) -> Expr {
        Expr(self.0.simplify())
    }
}

impl Node {
    fn eval(&self, sizes: &Sizes) -> Result<u64, EvalError> {
        match self {
            Node::Constant(value) => Ok(*value),
            Node::Name(name) => sizes.get(name).ok_or_else(|| EvalError::UnknownName {
                name: name.clone(),
                known: sizes.iter().map(|(known, _)| known.to_owned()).collect(),
            }),
            Node::Apply(op, left, right) => {
                let (l, r) = (left.eval(sizes)?, right.eval(sizes)?);
                op.apply(l, r).map_err(|fault| {
                    let expr = self.to_string();
                    match fault {
                        Fault::Overflow => EvalError::Overflow {
                            expr,
                            left: l,
                            right: r,
                        },
                        Fault::BelowZero => EvalError::BelowZero {
                            expr,
                            left: l,
                            right: r,
                        },
                        Fault::DivisionByZero => EvalError::DivisionByZero { expr },
                    }
                })
            }
        }
    }

    fn collect_names(&self, names: &mut BTreeSet<String>) {
        match self {
            Node::Constant(_) => {}
            Node::Name(name) => {
                names.insert(name.clone());
            }
            Node::Apply(_, left, right) => {
                left.collect_names(names);
                right.collect_names(names);
            }
        }
    }

    fn simplify(&self) -> Node {
        let Node::Apply(op, left, right) = self else {
            return self.clone();
        };
        let (left, right) = (left.simplify(), right.simplify());
        if let (Node::Constant(l), Node::Constant(r)) = (&left, &right)
            && let Ok(value) = op.apply(*l, *r)
        {
            return Node::Constant(value);
        }
        match (op, &left, &right) {
            (Op::Add | Op::Sub, _, Node::Constant(0))
            | (Op::Mul | Op::CeilDiv | Op::RoundUp, _, Node::Constant(1)) => left,
            (Op::Add, Node::Constant(0), _) | (Op::Mul, Node::Constant(1), _) => right,
            _ => Node::Apply(*op, Box::new(left), Box::new(right)),
        }
    }
}

impl From<u32> for Expr {
    fn from(value: u32) -> Expr {
        Expr::constant(u64::from(value))
    }
}

impl From<u64> for Expr {
    fn from(value: u64) -> Expr {
        Expr::constant(value)
    }
}

impl FromStr for Expr {
    type Err = ExprError;

    fn from_str(text: &str) -> Result<Expr, ExprError> {
        parse::parse(text).map(Expr)
    }
}

impl Serialize for Expr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Expr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Expr, D::Error> {
        deserializer.deserialize_str(Text)
    }
}

/// A visitor of its own, since an error raised inside it gets the line of the string itself.
struct Text;

impl de::Visitor<'_> for Text {
    type Value = Expr;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a size expression as a string")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Expr, E> {
        text.parse().map_err(|error| {
            let text = error::shorten(text);
            E::custom(format_args!("expression `{text}`: {error}"))
        })
    }
}
