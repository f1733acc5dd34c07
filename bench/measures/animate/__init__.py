"""How large animated GIF variants are and how long they take, beside sharp."""
