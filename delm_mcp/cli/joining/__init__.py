"""How agents' clients are told of the board: what each expects, and careful changes to its configuration."""
