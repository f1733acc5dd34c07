"""How fast and how well pictures are drawn, beside sharp and naive Pillow."""
