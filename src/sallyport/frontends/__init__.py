"""How control traffic arrives."""
