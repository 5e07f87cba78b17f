"""Raw corpora: the formats that are read, their rows, and the sentences made from them."""
