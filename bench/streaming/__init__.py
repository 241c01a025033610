"""How well live signing is recognised: errors, extents, delays, false alarms and cost."""
