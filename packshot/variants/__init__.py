"""What a variant is: its request form, plan form, fingerprint and key. All pure."""
