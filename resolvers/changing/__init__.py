"""Changes of configuration: plan, sample, apply, prepare and activate them."""
