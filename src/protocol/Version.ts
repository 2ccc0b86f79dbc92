/** VER in every message of RFC 1928. */
export const version = 0x05

/** VER in the username/password sub-negotiation (RFC 1929 §2). */
export const passwordVersion = 0x01
