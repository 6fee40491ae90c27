# SPDX-License-Identifier: Apache-2.0
import sys

from meshwright.agent.main import main

sys.exit(main())
