"""The measurements of the commands in bench/."""
