//! Builds the parts of a [`KernelPlan`](super::KernelPlan) from short texts in the manifest's grammar.

use shadowkv_runtime::manifest::{Access, Argument, Dtype, Expr, Geometry, MemoryKind, Work};

use super::{PlanError, Requests};

/// Parses the expressions of one kernel and names it in every error.
#[derive(Clone, Copy)]
pub(super) struct Builder {
    pub(super) kernel: &'static str,
}

impl Builder {
    pub(super) fn expr(self, text: &str) -> Result<Expr, PlanError> {
        text.parse()
            .map(|expr: Expr| expr.simplify())
            .map_err(|source| PlanError::Expression {
                kernel: self.kernel,
                text: text.to_owned(),
                source,
            })
    }

    /// A pointer into device memory.
    pub(super) fn pointer(
        self,
        name: &str,
        dtype: Dtype,
        access: Access,
        shape: &[String],
        doc: &str,
    ) -> Result<Argument, PlanError> {
        Ok(Argument {
            name: name.to_owned(),
            dtype,
            access,
            memory: Some(MemoryKind::Device),
            shape: shape
                .iter()
                .map(|extent| self.expr(extent))
                .collect::<Result<_, _>>()?,
            doc: doc.to_owned(),
        })
    }

    pub(super) fn scalar(self, name: &str, dtype: Dtype, doc: &str) -> Argument {
        let _ = self;
        Argument {
            name: name.to_owned(),
            dtype,
            access: Access::Scalar,
            memory: None,
            shape: Vec::new(),
            doc: doc.to_owned(),
        }
    }

    pub(super) fn geometry(
        self,
        grid: [&str; 3],
        threads: u32,
        shared_bytes: u32,
    ) -> Result<Geometry, PlanError> {
        let [x, y, z] = grid;
        Ok(Geometry {
            grid: [self.expr(x)?, self.expr(y)?, self.expr(z)?],
            threads,
            shared_bytes,
        })
    }

    /// Bytes read from and written to device memory, bytes read from host memory, operations.
    pub(super) fn work(
        self,
        read: &str,
        written: &str,
        host: &str,
        flops: &str,
    ) -> Result<Work, PlanError> {
        Ok(Work {
            read_bytes: self.expr(read)?,
            written_bytes: self.expr(written)?,
            host_read_bytes: self.expr(host)?,
            host_written_bytes: self.expr("0")?,
            flops: self.expr(flops)?,
        })
    }

    /// The same work with `host_written` bytes written to host memory besides.
    pub(super) fn writing_host(self, work: Work, host_written: &str) -> Result<Work, PlanError> {
        Ok(Work {
            host_written_bytes: self.expr(host_written)?,
            ..work
        })
    }

    /// Bytes that loads and stores ask device memory for, and what of it is asked for more than once.
    pub(super) fn requests(
        self,
        read: &str,
        written: &str,
        reuse: &'static str,
    ) -> Result<Requests, PlanError> {
        Ok(Requests {
            read_bytes: self.expr(read)?,
            written_bytes: self.expr(written)?,
            reuse,
        })
    }
}

/// Extents of a shape as texts.
macro_rules! shape {
    ($($extent:expr),* $(,)?) => { &[$(($extent).to_string()),*] };
}
pub(super) use shape;
