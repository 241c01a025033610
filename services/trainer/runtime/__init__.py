"""What a training computes with: devices, random numbers, precision, memory and GPU temperature."""
