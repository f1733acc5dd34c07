"""File formats: recognise, check and repair the bytes of originals before a codec decodes them."""
