/** The system's log. */
import { native } from './libc.ts';

const syslogFn = native('int syslog(int priority, const char *format, const char *text)');

export const LOG_ERR = 3;
export const LOG_WARNING = 4;
export const LOG_NOTICE = 5;
export const LOG_INFO = 6;
export const LOG_DEBUG = 7;
export const LOG_DAEMON: number = 3 << 3;

/** syslog(3) with facility daemon. `severity`: LOG_WARNING and the like. */
export function syslog(severity: number, text: string): void {
  syslogFn(LOG_DAEMON | severity, '%s', text);
}
