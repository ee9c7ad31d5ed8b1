"""Tables, figures and contact sheets out of metrics and stores."""
