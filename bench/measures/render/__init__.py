"""Speed and quality of rendering, beside sharp and simple Pillow code."""
