//! A right program: the same bits in every order, and nothing to object to.

use crate::program::{Bug, run};
use crate::{gpu, orders, texts};

#[test]
fn the_order_does_not_matter() {
    let mut expected = None;
    for order in orders() {
        let gpu = gpu(order);
        let results = run(&gpu, Bug::None).unwrap();
        let findings = gpu.finish();
        assert!(findings.is_empty(), "{order:?}: {}", texts(&findings));
        assert!(
            results
                .iter()
                .all(|result| result.iter().any(|byte| *byte != 0))
        );
        let expected = expected.get_or_insert_with(|| results.clone());
        assert_eq!(*expected, results, "{order:?}");
    }
}
