"""What training computes with: device, threads, precision, random numbers, GPU memory and GPU temperature."""
