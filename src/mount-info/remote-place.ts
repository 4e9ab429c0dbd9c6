/** What a mount knows of one of its objects in remote repositories: JSON in a private xattr, docs/handles.md. */

export interface RemoteKnowledge {
  /** The number of the source that is the cache. */
  readonly cache: number;
  /** The URL of the server that gave the object to this server of the mount; absent if none did. */
  readonly from?: string;
  /** In the order in which they are asked. */
  readonly repositories: readonly RemotePlace[];
}

export interface RemotePlace {
  /** Its address; mirrors have `|` between them. */
  readonly url: string;
  /** Whether the mount has the map of its image there; `unknown` if it has not asked yet. */
  readonly map: 'unknown' | 'known' | 'none';
  /**
   * In a pack, or as a file in `objects`; `absent` if no server there had it when it was asked for. Absent if it is not
   * known.
   */
  readonly place?: 'pack' | 'file' | 'absent';
}
