//! Ops that are made of smaller ones against those: values and gradients in f64, on every case. No GPU.

use vistok::graph::Case;
use vistok::ops;
use vistok::verify::programs::check_composition;

#[test]
fn compositions_are_their_ops() {
    let cases: Vec<Case> = ops::cases().into_iter().filter(|case| case.real.is_none()).collect();
    let mut composed: Vec<&str> = Vec::new();
    for case in &cases {
        match check_composition(case, 7) {
            Ok(None) => {}
            Ok(Some(error)) => {
                assert!(error <= 1e-12, "{}: relative error {error:e}", case.name());
                composed.push(case.op.name());
            }
            Err(error) => panic!("{}: {error}", case.name()),
        }
    }
    composed.dedup();
    let all = [
        "attend",
        "attend_shortcut",
        "batch_norm_relu_backward",
        "batch_norm_fixed",
        "concat",
        "conv2d",
        "conv2d_backward_x",
        "conv_norm",
        "cross_entropy_with_gradient",
        "group_norm",
        "mean_rows",
        "repeat",
        "resize",
        "stochastic_depth_backward",
    ];
    assert_eq!(composed, all, "ops that have a composition");
}
