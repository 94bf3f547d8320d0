//! The canonical text: single spaces round operators, brackets only where the structure needs them.

use std::fmt;

use super::{Expr, Node, Op};

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Node::Constant(value) => write!(f, "{value}"),
            Node::Name(name) => f.write_str(name),
            Node::Apply(op @ (Op::Add | Op::Sub | Op::Mul), left, right) => {
                operand(f, left, left.binding() < self.binding())?;
                write!(f, " {} ", op.symbol())?;
                // Operators group to the left, so an equal one on the right is somebody's brackets.
                operand(f, right, right.binding() <= self.binding())
            }
            Node::Apply(op, left, right) => write!(f, "{}({left}, {right})", op.symbol()),
        }
    }
}

impl Node {
    /// How tightly the outermost operation binds.
    fn binding(&self) -> u8 {
        match self {
            Node::Apply(Op::Add | Op::Sub, ..) => 0,
            Node::Apply(Op::Mul, ..) => 1,
            _ => 2,
        }
    }
}

fn operand(f: &mut fmt::Formatter<'_>, node: &Node, bracketed: bool) -> fmt::Result {
    if bracketed {
        write!(f, "({node})")
    } else {
        write!(f, "{node}")
    }
}
