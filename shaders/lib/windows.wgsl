// Windows of images, NHWC, as constants of a build: index arithmetic divides by them, and loops over windows are written out.
// COLUMNS: what lanes work on at once, counted along the channels.
// needs index
// constants HEIGHT=5 WIDTH=7 COLUMNS=3 OUT_HEIGHT=3 OUT_WIDTH=4 KERNEL_H=3 KERNEL_W=3 STRIDE_H=2 STRIDE_W=2
// constants PADDING_H=1 PADDING_W=1 WORKGROUP=256
