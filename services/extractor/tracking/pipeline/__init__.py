"""The tracking of MediaPipe's Holistic for several clips in lockstep: regions, crops, filters, and three stages."""
