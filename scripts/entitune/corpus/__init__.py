"""Raw corpora: rows, the formats that people have, canonical sentences."""
