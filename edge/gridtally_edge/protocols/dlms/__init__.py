"""DLMS/COSEM (IEC 62056-46, -5-3, -6-2), sans-IO: bytes in, values out, and conversations for any line."""
