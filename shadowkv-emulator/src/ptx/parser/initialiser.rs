//! Initial values of variables.

use super::super::ast::ScalarType;
use super::super::error::ParseError;
use super::super::lexer::Token;
use super::super::number::Number;
use super::Parser;
use super::declaration::{Declarator, Prefix};

impl Parser<'_> {
    /// What stands after `=`, as bytes. `bytes` is the variable's size, if its declaration says.
    pub(super) fn initialiser(
        &mut self,
        prefix: &Prefix,
        declarator: &Declarator<'_>,
        bytes: Option<u64>,
    ) -> Result<Vec<u8>, ParseError> {
        // Bytes of a row of each dimension, outermost first; the variable itself is the first of them.
        let mut rows = vec![bytes.unwrap_or(u64::MAX)];
        for index in 0..declarator.dimensions.len() {
            let inner = declarator.dimensions[index + 1..].iter().flatten().copied();
            rows.push(inner.fold(prefix.element_bytes(), u64::saturating_mul));
        }
        if prefix.vector > 1 {
            rows.push(prefix.ty.bytes().into());
        }
        let mut init = Vec::new();
        self.values(prefix.ty, &rows, &mut init)?;
        self.initial_bytes_left -= init.len();
        Ok(init)
    }

    /// A value, or values in braces that fill `rows[0]` bytes.
    fn values(
        &mut self,
        ty: ScalarType,
        rows: &[u64],
        init: &mut Vec<u8>,
    ) -> Result<(), ParseError> {
        if self.token != Token::Mark('{') {
            if rows.len() > 1 {
                return self.expected("`{`");
            }
            return self.value(ty, init);
        }
        let [whole, row, ..] = *rows else {
            return self.expected("a single value");
        };
        self.advance()?;
        let begin = init.len();
        // Where the row after the last one in braces begins, however few values that one had.
        let mut next = 0;
        while self.token != Token::Mark('}') {
            let filled = (init.len() - begin) as u64;
            let nested = self.token == Token::Mark('{');
            let at = if nested && row > 0 {
                filled.next_multiple_of(row).max(next)
            } else {
                filled.max(next)
            };
            let taken = if nested { row } else { ty.bytes().into() };
            if at.saturating_add(taken) > whole {
                return self.expected("no more initial values than the variable has");
            }
            let padded = at.saturating_add(begin as u64);
            if padded.saturating_add(ty.bytes().into()) > self.initial_bytes_left as u64 {
                return self.expected("a module with at most 16 MiB of initial values");
            }
            init.resize(padded as usize, 0);
            if nested {
                self.values(ty, &rows[1..], init)?;
                next = at.saturating_add(row);
            } else {
                self.value(ty, init)?;
            }
            if !self.accept(',')? {
                break;
            }
        }
        self.expect('}')
    }

    fn value(&mut self, ty: ScalarType, init: &mut Vec<u8>) -> Result<(), ParseError> {
        use ScalarType::{B8, B16, B32, B64, B128, F32, F64, S8, S16, S32, S64, U8, U16, U32, U64};
        if let Token::Word(_) = self.token {
            return self.expected("a number (initial values that are symbols are not supported)");
        }
        let position = self.position;
        let token = self.token;
        if init.len() + ty.bytes() as usize > self.initial_bytes_left {
            return self.expected("a module with at most 16 MiB of initial values");
        }
        let negative = self.token == Token::Mark('-');
        let value = self.number("an initial value")?;
        let bits = match (ty, value) {
            (B8 | U8 | S8 | B16 | U16 | S16 | B32 | U32 | S32, Number::Integer(value)) => {
                let bits = 8 * ty.bytes();
                let fits = if negative {
                    value as i64 >= -(1 << (bits - 1))
                } else {
                    value < 1 << bits
                };
                fits.then(|| value.into())
            }
            (B128, Number::Integer(value)) if negative => Some(i128::from(value as i64) as u128),
            (B64 | U64 | S64 | B128, Number::Integer(value)) => Some(value.into()),
            (F32 | B32, Number::Float32(bits)) => Some(bits.into()),
            (F32, Number::Float64(bits)) => Some((f64::from_bits(bits) as f32).to_bits().into()),
            (F64 | B64, Number::Float64(bits)) => Some(bits.into()),
            (F64, Number::Float32(bits)) => Some(f64::from(f32::from_bits(bits)).to_bits().into()),
            _ => None,
        };
        let Some(bits) = bits else {
            let found = match value {
                Number::Integer(value) if negative => format!("`{}`", value as i64),
                _ => token.describe(),
            };
            return Err(ParseError::new(
                position,
                format!("expected an initial value that the variable's type holds, found {found}"),
            ));
        };
        init.extend_from_slice(&bits.to_le_bytes()[..ty.bytes() as usize]);
        Ok(())
    }
}
