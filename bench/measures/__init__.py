"""The measurements behind the commands of bench/."""
