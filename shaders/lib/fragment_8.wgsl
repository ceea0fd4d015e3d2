// Cooperative matrices of 8 x 8 (Metal, lavapipe).
const FRAGMENT: u32 = 8u;
alias FragmentA = coop_mat8x8<f16, A>;
alias FragmentB = coop_mat8x8<f16, B>;
alias FragmentSum = coop_mat8x8<f32, C>;
