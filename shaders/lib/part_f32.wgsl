// What a kernel writes that may stop halfway through a sum: here it does, and another pass joins the f32 parts.
alias part = f32;
alias part4 = vec4<f32>;
