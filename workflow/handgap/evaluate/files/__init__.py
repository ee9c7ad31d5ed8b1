"""Files of predictions and truth in the formats that datasets publish."""
