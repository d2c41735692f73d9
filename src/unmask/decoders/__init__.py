"""One file per decoding rule for vision-language models; the file's name is the decoder's name."""
