"""Who may take part: genesis, admins, certificates, tickets, joining."""
