// The shape of a convolution, NHWC, as constants of a build: index arithmetic divides by them all the time.
// constants IN_H=5 IN_W=7 IN_C=8 OUT_H=3 OUT_W=4 OUT_C=12 KERNEL_H=3 KERNEL_W=3
// constants STRIDE_H=2 STRIDE_W=2 PAD_H=1 PAD_W=1 GROUPS=1
const GROUP_IN: u32 = IN_C / GROUPS;
const GROUP_OUT: u32 = OUT_C / GROUPS;

// Far outside every image: rows past the end read zeros there.
const OUTSIDE: i32 = -1000000;
