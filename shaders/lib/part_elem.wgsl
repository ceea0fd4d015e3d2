// What a kernel writes that may stop halfway through a sum: here it does not, and writes the tensor's own elements.
alias part = elem;
alias part4 = elem4;
