/** What is wrong with a file that can't be read, in words. */

/** In the terms of `open(2)`, and of who has to mend it. */
export const words = (code: string): { readonly problem: string; readonly fix: string } => {
  switch (code) {
    case "ENOENT":
      return { problem: "no such file", fix: "correct the path" }
    case "EACCES":
    case "EPERM":
      return { problem: `can't be read (${code})`, fix: "let the user that runs sluice read it" }
    case "EISDIR":
      return { problem: "is a directory", fix: "name a file" }
    case "EFTYPE":
    // A socket.
    case "ENXIO":
      return { problem: "is a pipe or a device", fix: "name a file" }
    case "ESTALE":
      return { problem: "has changed while it was read", fix: "try again" }
    default:
      return { problem: `can't be read (${code})`, fix: "correct the path or the file" }
  }
}
