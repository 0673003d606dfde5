"""How do the processes of one run exchange what they hold: gradients, metrics, decisions?"""
